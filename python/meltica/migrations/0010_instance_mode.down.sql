alter table instances drop column dry_run;
