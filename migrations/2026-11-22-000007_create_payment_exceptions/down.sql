DROP TABLE payment_exceptions;
