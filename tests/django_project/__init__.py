"""A Django project that uses fbs-worker, as small as can be; tests/integration/test_django.py runs it."""
