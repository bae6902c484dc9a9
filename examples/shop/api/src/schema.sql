create table if not exists products (
  id bigint generated always as identity primary key,
  sku text not null unique,
  name text not null,
  description text not null,
  emoji text not null,
  price_cents integer not null check (price_cents > 0),
  stock integer not null check (stock >= 0)
);

create table if not exists orders (
  id bigint generated always as identity primary key,
  customer text not null,
  total_cents integer not null,
  placed_at timestamptz not null default now()
);

create table if not exists order_items (
  order_id bigint not null references orders on delete cascade,
  product_id bigint not null references products,
  quantity integer not null check (quantity > 0),
  -- What it cost then, whatever it costs now.
  price_cents integer not null,
  primary key (order_id, product_id)
);
