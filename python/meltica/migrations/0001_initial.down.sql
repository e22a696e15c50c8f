drop table outbox_deliveries, outbox_consumers, outbox, halts, balances, executions, orders, instances, providers;
drop domain amount;
