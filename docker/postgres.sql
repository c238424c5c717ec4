-- Run once by the image of PostgreSQL, as superuser: the role that the programs use, and the one database that it owns.
-- ROLE is the name of both; the password is read from its file, so that it is on no command line.
\getenv role ROLE
\set password `cat /run/secrets/role_password`
CREATE ROLE :"role" LOGIN PASSWORD :'password';
CREATE DATABASE :"role" OWNER :"role";
REVOKE ALL ON DATABASE :"role" FROM PUBLIC;
