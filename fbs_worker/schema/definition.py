"""Definition of a solution's tables: business tables of its domain and of its mirrored models. Pure.

Tables are named `<business_prefix><entity>` and `<business_prefix><model with _ for .>`. Objects common to all business
tables are added: `id SERIAL PRIMARY KEY`, `created_at` and `updated_at TIMESTAMP DEFAULT NOW()`, an index for each
foreign key.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, Final, NoReturn

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Constraint,
    DefaultClause,
    Enum,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import DOMAIN, ExcludeConstraint
from sqlalchemy.exc import NoReferencedColumnError, NoReferencedTableError
from sqlalchemy.schema import ColumnCollectionConstraint, CreateTable
from sqlalchemy.sql.elements import TextClause, quoted_name

from fbs_worker.core.errors import SettingsError, UsageError
from fbs_worker.core.identifiers import check_prefix
from fbs_worker.domains import Domain
from fbs_worker.schema.columns import DIALECT, column, expression_of, id_column, time_column
from fbs_worker.schema.ddl import creation_order
from fbs_worker.schema.mirror import add_tables, connect_tables, link_names
from fbs_worker.schema.naming import checked_name, derived_name
from fbs_worker.schema.system_tables import system_tables

_EVERY_TABLE: Final = frozenset(("id", "created_at", "updated_at"))

_NO_NAMING: Final[dict[Any, Any]] = {"pk": None}
"""Disables SQLAlchemy's naming of indexes: PostgreSQL chooses unused names of valid length."""


@dataclass(frozen=True, kw_only=True)
class Definition:
    """The desired tables of a solution; do not modify them, some are shared between definitions.

    Attributes:
        domain: the domain's name.
        table_prefix: prefix of the system tables.
        business_prefix: prefix of the business tables; may be empty.
        system: the system tables.
        business: business tables with their final names and resolved foreign keys.
        mirrored: mirrored model → its table.
    """

    domain: str
    table_prefix: str
    business_prefix: str
    system: tuple[Table, ...] = field(repr=False, compare=False)
    business: MetaData = field(repr=False, compare=False)
    mirrored: Mapping[str, str]

    @cached_property
    def table_names(self) -> tuple[str, ...]:
        """Names of the business tables in creation order, including link tables."""
        return tuple(str(table.name) for table in self.tables)

    @cached_property
    def tables(self) -> tuple[Table, ...]:
        """The business tables in creation order."""
        return tuple(creation_order(self.business.tables.values()))


def define(
    domain: Domain,
    *,
    table_prefix: str,
    business_prefix: str,
    mirrored: Mapping[str, Mapping[str, Any]] | None = None,
) -> Definition:
    """Define the tables of a solution.

    Args:
        domain: the domain with its business tables.
        table_prefix: prefix of the system tables.
        business_prefix: prefix of the business tables; may be empty.
        mirrored: model → its discovered `schema_definition`.

    Raises:
        UsageError: a name is longer than 63 bytes, two tables have the same name, or a prefix is not valid.
        SettingsError: a table of the domain uses an unsupported feature.
    """
    for option, prefix in (("table_prefix", table_prefix), ("business_prefix", business_prefix)):
        _check_prefix(option, prefix)
    if not mirrored:
        return _define_domain(domain, table_prefix, business_prefix)
    return _define(domain, table_prefix, business_prefix, dict(sorted(mirrored.items())))


@lru_cache(maxsize=8)
def _define_domain(domain: Domain, table_prefix: str, business_prefix: str) -> Definition:
    """Cached: a job defines the same tables several times."""
    return _define(domain, table_prefix, business_prefix, {})


def _define(
    domain: Domain, table_prefix: str, business_prefix: str, models: Mapping[str, Mapping[str, Any]]
) -> Definition:
    own = _domain_tables(domain)
    entities = {key: checked_name(f"{business_prefix}{table.name}") for key, table in own.tables.items()}
    names = {model: checked_name(f"{business_prefix}{model.replace('.', '_')}") for model in models}
    links = [(name, model) for model in models for name in link_names(model, models[model], names=names).values()]
    system = tuple(system_tables(table_prefix))
    _check_unique(
        *((table.name, "a system table") for table in system),
        *((name, f"the table {own.tables[key].name!r} of the domain") for key, name in entities.items()),
        *((name, f"the mirrored model {model}") for model, name in names.items()),
        *((name, f"a link table of the mirrored model {model}") for name, model in links),
    )
    metadata = MetaData(naming_convention=_NO_NAMING)
    for key, name in entities.items():
        _add_entity(own.tables[key], name, metadata, domain=domain, prefix=business_prefix)
    for key, name in entities.items():
        _connect_entity(own.tables[key], metadata.tables[name], entities, domain=domain)
    for model, definition in models.items():
        add_tables(model, definition, names=names, metadata=metadata)
    for model, definition in models.items():
        connect_tables(model, definition, names=names, metadata=metadata)
    return Definition(
        domain=domain.name,
        table_prefix=table_prefix,
        business_prefix=business_prefix,
        system=system,
        business=metadata,
        mirrored={model: str(name) for model, name in names.items()},
    )


@lru_cache(maxsize=64)
def _domain_tables(domain: Domain) -> MetaData:
    return domain.tables()


def _check_prefix(option: str, prefix: str) -> None:
    if not prefix and option == "business_prefix":
        return
    try:
        check_prefix(prefix)
    except ValueError as exc:
        raise UsageError(f"{option} is not valid: {exc}.", hint=f"Correct --{option.replace('_', '-')}.") from None


def _check_unique(*claims: tuple[str, str]) -> None:
    taken: dict[str, str] = {}
    for name, what in claims:
        other = taken.setdefault(name, what)
        if other != what:
            raise UsageError(
                f"The table name {name!r} is used twice: {other} and {what}.",
                hint="Choose another --business-prefix, or do not mirror that model.",
            )


def _add_entity(source: Table, name: quoted_name, metadata: MetaData, *, domain: Domain, prefix: str) -> None:
    """Add a domain's table with its final name and the common columns, without foreign keys."""
    if any(key.name not in _EVERY_TABLE for key in source.primary_key):
        _reject(domain, source, "has a primary key of its own: remove it, `id` is added to each table")
    columns = [_copy_column(original, domain) for original in source.columns if original.name not in _EVERY_TABLE]
    statement = "CREATE TABLE "
    with suppress(KeyError):  # a key may include a column of those that are added
        statement = str(CreateTable(source, include_foreign_key_constraints=[]).compile(dialect=DIALECT)).strip()
    if source.dialect_kwargs or not statement.startswith("CREATE TABLE "):
        _reject(domain, source, "has options (partitions, inheritance, storage), which are not supported")
    more = [time_column("created_at"), time_column("updated_at")]
    table = Table(name, metadata, id_column(), *columns, *more, comment=source.comment)
    # the copied types have made these already
    made = {_unquoted(one.sqltext) for one in table.constraints if isinstance(one, CheckConstraint)}
    for constraint in sorted(source.constraints, key=lambda original: (str(original.name), _column_names(original))):
        own = checked_name(f"{prefix}{constraint.name}", "constraint") if isinstance(constraint.name, str) else None
        options = {"deferrable": constraint.deferrable, "initially": constraint.initially, **constraint.dialect_kwargs}
        match constraint:
            case UniqueConstraint():
                table.append_constraint(UniqueConstraint(*_column_names(constraint), name=own, **options))
            case ExcludeConstraint():
                table.append_constraint(_copy_exclusion(constraint, table, own, domain))
            case CheckConstraint() if _unquoted(constraint.sqltext) not in made:
                own = own and checked_name(str(constraint.name), "constraint")
                table.append_constraint(CheckConstraint(constraint.sqltext, name=own))
    for index in source.indexes:
        on = [_on(table, expression) for expression in index.expressions]
        Index(
            checked_name(f"{prefix}{index.name}", "index"),
            *on,
            unique=index.unique,
            _table=table,
            **index.dialect_kwargs,
        )


def _copy_exclusion(source: ExcludeConstraint, table: Table, name: str | None, domain: Domain) -> ExcludeConstraint:
    compiler = DIALECT.ddl_compiler(DIALECT, None)  # type: ignore[arg-type]
    elements = [(str(column.name), source.operators[column.name]) for column in source.columns]
    plain = ", ".join(f"{column} WITH {operator}" for column, operator in elements)
    if f"({plain})" not in str(compiler.process(source)).replace('"', ""):
        _reject(domain, source.table, "has an exclusion constraint on an expression, which is not supported")
    return ExcludeConstraint(
        *((table.c[column], operator) for column, operator in elements),
        name=name,
        using=source.using,
        where=source.where,
        ops=source.ops,
        deferrable=source.deferrable,
        initially=source.initially,
    )


def _on(table: Table, expression: Any) -> Column[Any] | TextClause:
    """What an index is on: a column of the new table, or an expression as SQL without the name of its table."""
    if isinstance(expression, Column):
        return table.c[str(expression.name)]
    return text(expression_of(expression.self_group()).replace(":", r"\:"))


def _unquoted(expression: Any) -> str:
    """An expression for comparison: names of copied columns are quoted."""
    return expression_of(expression).replace('"', "")


def _connect_entity(source: Table, table: Table, entities: Mapping[str, quoted_name], *, domain: Domain) -> None:
    with_index = [
        original for original in table.constraints if isinstance(original, UniqueConstraint | PrimaryKeyConstraint)
    ]
    indexed = [_column_names(original) for original in (*table.indexes, *with_index)]
    taken: set[str] = set()
    for constraint in sorted(source.foreign_key_constraints, key=lambda one: (_column_names(one), *_targets(one))):
        if constraint.match:
            _reject(domain, source, f"has a foreign key with MATCH {constraint.match}, which is not supported")
        targets = []
        for element in constraint.elements:
            entity, target = _target(element)
            if entity not in entities or target not in (columns := table.metadata.tables[entities[entity]].c):
                _reject(domain, source, f"refers to {entity}.{target}, which is not in the domain")
            targets.append(columns[target])
        names = _column_names(constraint)
        base, number = f"{table.name}_{'_'.join(names)}", 1
        while (own := derived_name(base, f"_fkey{number if number > 1 else ''}")) in taken:
            number += 1
        taken.add(own)
        table.append_constraint(
            ForeignKeyConstraint(
                names,
                targets,
                name=own,
                ondelete=constraint.ondelete,
                onupdate=constraint.onupdate,
                deferrable=constraint.deferrable,
                initially=constraint.initially,
            )
        )
        if not any(known[: len(names)] == names for known in indexed):
            indexed.append([str(column.name) for column in Index(None, *(table.c[name] for name in names)).columns])


def _targets(constraint: ForeignKeyConstraint) -> list[str]:
    return [".".join(_target(element)) for element in constraint.elements]


def _target(element: ForeignKey) -> tuple[str, str]:
    """Return the referenced table and column of a foreign key; `id` may be missing in the domain's table."""
    try:
        return str(element.column.table.key), str(element.column.name)
    except NoReferencedColumnError as exc:
        return str(exc.table_name), exc.column_name
    except NoReferencedTableError as exc:
        return str(exc.table_name), "id"


def _copy_column(original: Column[Any], domain: Domain) -> Column[Any]:
    default = original.server_default
    if (isinstance(original.type, Enum) and original.type.native_enum) or isinstance(original.type, DOMAIN):
        _reject(domain, original.table, f"has a column of its own type ({original.name}), which is not supported")
    if isinstance(original.type, Boolean) and original.type.create_constraint:
        _reject(domain, original.table, f"has a check of a boolean ({original.name}), which PostgreSQL does not need")
    if default is not None and not isinstance(default, DefaultClause):
        _reject(domain, original.table, f"has a calculated column ({original.name}), which is not supported")
    value = None if default is None else default.arg
    options = {"nullable": original.nullable, "comment": original.comment}
    return column(original.name, original.type, server_default=value, **options)


def _column_names(original: Constraint | Index) -> list[str]:
    return (
        [str(one.name) for one in original.columns] if isinstance(original, ColumnCollectionConstraint | Index) else []
    )


def _reject(domain: Domain, table: Table, what: str) -> NoReturn:
    raise SettingsError(
        f"The table {table.name!r} of the domain {domain.name!r} {what}.",
        hint="Correct the package that provides the domain.",
    )
