"""fbs-worker as a Django application: `fbs_worker.contrib.django` in INSTALLED_APPS.

Its settings are the dictionary FBS_CONFIG of the project's settings, over the environment. It has no models, no
migrations and no tables in the project's own database: what it keeps is where workers keep it.
"""
