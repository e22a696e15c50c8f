drop table risk_limits;
alter table providers drop constraint providers_name_their_key;
alter table providers drop column key_id, drop column secrets;
