-- The order of the list of all orders.
create index orders_by_intent on orders (intent_at desc, id);
