drop table module_tags;
drop table module_revisions;
