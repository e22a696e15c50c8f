drop table runtime_configuration;
