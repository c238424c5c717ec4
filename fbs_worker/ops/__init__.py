"""Operations: status, health, metrics, the dashboard and the local stack."""
