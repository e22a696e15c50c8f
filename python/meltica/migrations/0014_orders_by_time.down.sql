drop index orders_by_intent;
