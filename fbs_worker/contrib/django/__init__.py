"""Django application: add `fbs_worker.contrib.django` to INSTALLED_APPS.

Its settings are the dictionary FBS_CONFIG of the project's settings, which overrides the environment. It has no models,
no migrations and no tables in the project's own database: its state is in Redis and in the home database, as the
workers' is.
"""
