"""The project's addresses."""

from __future__ import annotations

from django.urls import path

from . import views

urlpatterns = [
    path("solutions/", views.solutions),
    path("solutions/<str:name>/", views.solution),
    path("solutions/<str:name>/refresh/", views.refresh),
]
