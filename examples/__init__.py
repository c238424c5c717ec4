"""Examples of applications that use fbs-worker; the tests run them."""
