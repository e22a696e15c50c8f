drop table outbox_pruned;
