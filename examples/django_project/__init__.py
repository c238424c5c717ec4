"""A Django project that uses fbs-worker, as small as possible."""
