#!/bin/sh
# Makes the folder `secrets/` that docker-compose.yml hands to its containers: a file for each secret, random where
# nobody has to choose it. What is there stays as it is. The containers read the files as users of their own, so others
# may read them; the folder is closed to others instead.
set -eu
umask 077
cd "$(dirname "$0")/.."
mkdir -p secrets

make() {
	[ -e "secrets/$1" ] || printf %s "$2" > "secrets/$1"
	chmod 0644 "secrets/$1"
}

random() {
	od -An -N24 -tx1 /dev/urandom | tr -d ' \n'
}

for name in postgres_superuser_password postgres_password redis_password fbs_flower_password \
	odoo_db_superuser_password odoo_db_password; do
	make "$name" "$(random)"
done
make fbs_secret_keys "$(head -c 32 /dev/urandom | base64 | tr +/ -_)"
make fbs_database_url "postgresql://fbs:$(cat secrets/postgres_password)@postgres:5432/fbs"
make fbs_redis_url "redis://:$(cat secrets/redis_password)@redis:6379/0"
for name in odoo_password odoo_api_key odoo_headers odoo_ca fbs_api_tokens; do
	make "$name" ''
done

echo 'secrets/ is made. Write into it what is yours: odoo_password or odoo_api_key, and fbs_api_tokens.'
