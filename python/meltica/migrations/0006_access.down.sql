drop table audit, audit_head, tokens cascade;
drop function append_audit, keep_audit;
