alter table instances drop column module;
drop table module_tags;
drop table module_revisions;
