alter table instances drop column enabled;
alter table providers drop column enabled;
