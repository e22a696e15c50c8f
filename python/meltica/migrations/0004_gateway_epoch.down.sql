drop table gateway;
