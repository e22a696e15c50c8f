alter table providers drop column account;
