-- A database for each service, made when PostgreSQL's volume is empty. Each service migrates its own.
CREATE DATABASE users;
CREATE DATABASE products;
CREATE DATABASE inventory;
CREATE DATABASE carts;
CREATE DATABASE orders;
CREATE DATABASE payments;
CREATE DATABASE shipping;
CREATE DATABASE notifications;
CREATE DATABASE registry;
CREATE DATABASE risk;
CREATE DATABASE accounts;
CREATE DATABASE transactions;
CREATE DATABASE support;
