"""PostgreSQL: migrations, named queries and one typed module per family of tables."""
