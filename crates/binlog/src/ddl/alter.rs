//! What ALTER TABLE makes of a definition.

use tidelake_core::schema::TableDef;
use tidelake_core::types::arrow::data_type;
use tidelake_core::{CellValue, ColumnDef, ColumnId, TypeKind};

use super::DdlContext;
use super::ast::{AlterAction, ColumnSpec, DefaultSpec, KeyKind, Place, TableOptions};
use super::charset::max_bytes;
use super::resolve::Resolver;
use super::token::{MODE_STRICT_ALL_TABLES, MODE_STRICT_TRANS_TABLES};
use super::{engines, keys, literal, type_change};

/// What the clauses of one statement come to.
#[derive(Debug)]
pub(super) enum Altered {
    /// The same rows under this definition; its version is not counted up yet.
    Def(Box<TableDef>),
    /// Only upstream knows the rows now.
    Rows(String),
}

/// Applies all clauses but RENAME TO, as the server does: first every column keeps its place, is dropped or changed;
/// then new columns and those with FIRST or AFTER go to theirs.
pub(super) fn altered(def: &TableDef, actions: &[AlterAction], context: &DdlContext<'_>) -> Altered {
    let resolver = Resolver::of(context);
    let ignore = actions.contains(&AlterAction::Ignore);
    let mut work = Work { def: def.clone(), context, resolver, ignore, engine_before: def.engine.clone() };
    // A change of the default charset holds for columns added by the same statement.
    for action in actions {
        if let AlterAction::Options(options) = action {
            work.options(options);
        }
    }
    let followed = work.columns(actions).and_then(|()| actions.iter().try_for_each(|a| work.rest(a)));
    match (followed, type_change::computed_anew(def, &work.def)) {
        (Ok(()), None) => Altered::Def(Box::new(work.def)),
        (Err(Stop(reason)), _) | (_, Some(reason)) => Altered::Rows(reason),
    }
}

/// Why a clause cannot be followed: only upstream knows the rows after it.
struct Stop(String);

type Step = Result<(), Stop>;

struct Work<'a> {
    def: TableDef,
    context: &'a DdlContext<'a>,
    resolver: Resolver<'a>,
    /// See [`AlterAction::Ignore`].
    ignore: bool,
    engine_before: String,
}

impl Work<'_> {
    fn strict(&self) -> bool {
        if self.ignore {
            return false;
        }
        let transactional = self.def.engine.eq_ignore_ascii_case("InnoDB") || self.def.engine.is_empty();
        self.context.sql_mode & MODE_STRICT_ALL_TABLES != 0
            || (transactional && self.context.sql_mode & MODE_STRICT_TRANS_TABLES != 0)
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.def.index_of_name(name)
    }

    fn existing(&self, name: &str) -> Result<usize, Stop> {
        self.position(name).ok_or_else(|| Stop(format!("column {name} is not known here")))
    }

    fn columns(&mut self, actions: &[AlterAction]) -> Step {
        for action in actions {
            if let AlterAction::DropColumn { name, if_exists } = action {
                self.drop_column(name, *if_exists)?;
            }
        }
        let mut moves = self.change_columns(actions)?;
        self.rename_columns(actions)?;
        for action in actions {
            if let AlterAction::AddColumn { spec, place, if_not_exists } = action {
                if self.position(&spec.name).is_some() {
                    if *if_not_exists {
                        continue;
                    }
                    return Err(Stop(format!("column {} is there already", spec.name)));
                }
                let id = self.add_column(spec)?;
                if *place != Place::Unsaid {
                    moves.push((id, place.clone()));
                }
            }
        }
        self.place(actions, &moves)
    }

    /// Puts moved columns where they go, in the order of their clauses.
    fn place(&mut self, actions: &[AlterAction], moves: &[(ColumnId, Place)]) -> Step {
        let mut waiting: Vec<ColumnDef> = Vec::new();
        let names: Vec<&str> = actions.iter().filter_map(placed_name).collect();
        // Clause order, adds and changes mixed, as the server works through them.
        let mut ordered: Vec<&(ColumnId, Place)> = moves.iter().collect();
        let rank = |id: ColumnId, def: &TableDef| {
            let name = def.index_of(id).map(|i| def.columns[i].name.to_lowercase()).unwrap_or_default();
            names.iter().position(|n| n.to_lowercase() == name)
        };
        ordered.sort_by_key(|(id, _)| rank(*id, &self.def));
        // Unplaced new columns go to the end when their clause comes; a later AFTER may name them. Only columns
        // that move leave their place.
        for (id, _) in &ordered {
            if let Some(at) = self.def.index_of(*id) {
                waiting.push(self.def.columns.remove(at));
            }
        }
        for ((_, place), column) in ordered.into_iter().zip(waiting) {
            let at = match place {
                Place::First => 0,
                Place::After(name) => self.existing(name)? + 1,
                Place::Unsaid => self.def.columns.len(),
            };
            self.def.columns.insert(at, column);
        }
        Ok(())
    }

    fn drop_column(&mut self, name: &str, if_exists: bool) -> Step {
        if if_exists && self.position(name).is_none() {
            return Ok(());
        }
        let at = self.existing(name)?;
        if self.def.key.contains(&self.def.columns[at].id) {
            return Err(Stop(format!("key column {name} was dropped")));
        }
        let column = self.def.columns.remove(at);
        keys::follow_column(&mut self.def.indexes, &column.name, None, self.context.flavor);
        Ok(())
    }

    fn rename_columns(&mut self, actions: &[AlterAction]) -> Step {
        let mut renames = Vec::new();
        for action in actions {
            if let AlterAction::RenameColumn { old, new, if_exists } = action {
                if *if_exists && self.position(old).is_none() {
                    continue;
                }
                renames.push((self.existing(old)?, new.clone()));
            }
        }
        // All at once: a swap of two names is one statement.
        let old: Vec<String> = renames.iter().map(|(at, _)| self.def.columns[*at].name.clone()).collect();
        self.follow_renames(&old, &renames.iter().map(|(_, new)| new.clone()).collect::<Vec<_>>());
        for (at, new) in renames {
            self.def.columns[at].name = new;
        }
        Ok(())
    }

    fn follow_renames(&mut self, old: &[String], new: &[String]) {
        let flavor = self.context.flavor;
        let between = |i: usize| format!("\u{1}{i}");
        for (i, name) in old.iter().enumerate() {
            keys::follow_column(&mut self.def.indexes, name, Some(&between(i)), flavor);
        }
        for (i, name) in new.iter().enumerate() {
            keys::follow_column(&mut self.def.indexes, &between(i), Some(name), flavor);
        }
    }

    /// Old names are those before the statement, so they are all looked up first (CHANGE a b, CHANGE b a).
    fn change_columns(&mut self, actions: &[AlterAction]) -> Result<Vec<(ColumnId, Place)>, Stop> {
        let mut found = Vec::new();
        for action in actions {
            let AlterAction::ChangeColumn { old, spec, place, if_exists } = action else { continue };
            if *if_exists && self.position(old).is_none() {
                continue;
            }
            found.push((self.existing(old)?, spec, place));
        }
        let (mut moves, mut old_names, mut new_names) = (Vec::new(), Vec::new(), Vec::new());
        for (at, spec, place) in found {
            let new = self.changed(&self.def.columns[at], spec)?;
            let old = std::mem::replace(&mut self.def.columns[at], new);
            if old.name != spec.name {
                old_names.push(old.name);
                new_names.push(spec.name.clone());
            }
            if *place != Place::Unsaid {
                moves.push((old.id, place.clone()));
            }
        }
        self.follow_renames(&old_names, &new_names);
        Ok(moves)
    }

    fn changed(&self, old: &ColumnDef, spec: &ColumnSpec) -> Result<ColumnDef, Stop> {
        let mut new = self.resolver.column(spec, old.id, (&self.def.charset, &self.def.collation));
        let is_key = self.def.key.contains(&old.id);
        if is_key && self.def.key_is_primary {
            new.nullable = false;
        }
        self.check_change(old, &new, is_key)?;
        if let Some(initial) = &old.initial {
            new.initial =
                Some(convert_initial(initial, old, &new).ok_or_else(|| {
                    Stop(format!("the value of old rows in column {} cannot be converted", old.name))
                })?);
        }
        Ok(new)
    }

    fn check_change(&self, old: &ColumnDef, new: &ColumnDef, is_key: bool) -> Step {
        let column = &old.name;
        if let Some(loss) = type_change::loss(&old.ty, &new.ty, self.strict()) {
            return Err(Stop(format!("column {column}: {loss}")));
        }
        if is_key && data_type(&old.ty) != data_type(&new.ty) {
            return Err(Stop(format!("key column {column} gets another type")));
        }
        if is_key && new.nullable {
            return Err(Stop(format!("key column {column} may be NULL now")));
        }
        // MariaDB puts the time of the statement there, however strict the session is
        let now = new.ty.kind == TypeKind::Timestamp;
        if old.nullable && !new.nullable && (now || !self.strict()) {
            return Err(Stop(format!("NULLs in column {column} were replaced")));
        }
        let generated = |c: &ColumnDef| c.extra_sql.starts_with("GENERATED").then(|| c.extra_sql.clone());
        if generated(old) != generated(new) {
            return Err(Stop(format!("column {column} is computed in another way")));
        }
        let numbered = |c: &ColumnDef| c.extra_sql.contains("AUTO_INCREMENT");
        if numbered(new) && !numbered(old) {
            return Err(Stop(format!("AUTO_INCREMENT may have numbered rows in column {column}")));
        }
        Ok(())
    }

    fn add_column(&mut self, spec: &ColumnSpec) -> Result<ColumnId, Stop> {
        let id = self.def.next_column;
        let mut column = self.resolver.column(spec, id, (&self.def.charset, &self.def.collation));
        let why = |what: &str| Stop(format!("{what} of the new column {} in old rows", spec.name));
        if spec.auto_increment || spec.generated.is_some() {
            return Err(why("only upstream knows the values"));
        }
        let offset = self.context.session.utc_offset_seconds;
        let constant = match &spec.default {
            Some(DefaultSpec::Null) | None => None,
            Some(DefaultSpec::Literal(value) | DefaultSpec::Expression { constant: Some(value), .. }) => Some(value),
            Some(DefaultSpec::Expression { .. }) => return Err(why("a computed default gives the values")),
        };
        let timestamp = column.ty.kind == TypeKind::Timestamp && self.context.session.implicit_timestamps;
        column.initial = Some(match constant {
            Some(value) => literal::stored(&column.ty, value, offset)
                .filter(|cell| fits(cell, &column))
                .ok_or_else(|| why("the default cannot be read as the value"))?,
            None if column.nullable => CellValue::Null,
            None if timestamp => return Err(why("the session's time may be the value")),
            None => literal::implicit(&column.ty).ok_or_else(|| why("there is no default value"))?,
        });
        self.def.next_column = ColumnId(id.0 + 1);
        self.def.columns.push(column);
        Ok(id)
    }

    /// Everything that is not about columns' place and type.
    fn rest(&mut self, action: &AlterAction) -> Step {
        let flavor = self.context.flavor;
        match action {
            AlterAction::SetDefault { name, default } => {
                let at = self.existing(name)?;
                let ty = self.def.columns[at].ty.clone();
                let sql = default.as_ref().and_then(|d| self.resolver.default_sql(&ty, d));
                self.def.columns[at].default_sql = sql;
            }
            AlterAction::SetVisibility { name, invisible } => {
                let at = self.existing(name)?;
                self.def.columns[at].invisible = *invisible;
            }
            AlterAction::AddKey(key) if key.kind == KeyKind::Primary => return self.add_primary(key),
            AlterAction::AddKey(key) if self.ignore && key.kind == KeyKind::Unique => {
                return Err(Stop("rows that a new unique key does not allow were removed".into()));
            }
            AlterAction::AddKey(key) => self.add_key(key),
            AlterAction::AddConstraint(constraint) => {
                let primary: Vec<String> = if self.def.key_is_primary {
                    self.def.key_indexes().iter().map(|i| self.def.columns[*i].name.clone()).collect()
                } else {
                    Vec::new()
                };
                keys::add_foreign_indexes(&mut self.def.indexes, &primary, std::slice::from_ref(constraint));
                keys::add_constraint(&mut self.def.indexes, constraint, &self.def.name, flavor);
            }
            AlterAction::DropPrimaryKey => return Err(Stop("the primary key was dropped".into())),
            AlterAction::DropKey(name) => return self.drop_key(name),
            AlterAction::DropConstraint(name) => {
                let hit = |i: &tidelake_core::schema::IndexDef| i.name.eq_ignore_ascii_case(name);
                // DROP CONSTRAINT also drops a UNIQUE key of that name.
                if self.def.indexes.iter().any(|i| hit(i) && i.unique) {
                    return self.drop_key(name);
                }
                self.def.indexes.retain(|i| !(hit(i) && i.columns.is_empty()));
            }
            AlterAction::RenameKey { old, new } => {
                let hit = self.def.indexes.iter_mut().find(|i| i.name.eq_ignore_ascii_case(old));
                if let Some(index) = hit {
                    keys::rename(index, new, flavor);
                }
            }
            AlterAction::ConvertCharset { charset, collation } => {
                self.convert(charset.as_deref(), collation.as_deref())?;
            }
            AlterAction::Rows { what, .. } => return Err(Stop(what.clone())),
            AlterAction::Options(options) => return self.check_engine(options.engine.as_deref()),
            AlterAction::AddColumn { .. }
            | AlterAction::ChangeColumn { .. }
            | AlterAction::DropColumn { .. }
            | AlterAction::RenameColumn { .. }
            | AlterAction::RenameTable(_)
            | AlterAction::Ignore
            | AlterAction::Nothing => {}
        }
        Ok(())
    }

    /// A PRIMARY KEY written again in MODIFY is no news; another one identifies rows anew.
    fn add_primary(&self, key: &super::ast::KeySpec) -> Step {
        let old: Vec<String> =
            self.def.key_indexes().iter().map(|i| self.def.columns[*i].name.to_lowercase()).collect();
        let same = self.def.key_is_primary && key.parts.iter().map(|p| p.column.to_lowercase()).eq(old);
        if same { Ok(()) } else { Err(Stop("another primary key".into())) }
    }

    /// Our identity of rows stays, also if upstream would choose the new key.
    fn add_key(&mut self, key: &super::ast::KeySpec) {
        let taken: Vec<&str> = self.def.indexes.iter().map(|i| i.name.as_str()).collect();
        let exists = key.name.as_ref().is_some_and(|n| taken.iter().any(|t| t.eq_ignore_ascii_case(n)));
        if exists && key.if_not_exists {
            return;
        }
        let index = keys::index(key, &taken);
        self.def.indexes.push(index);
    }

    fn drop_key(&mut self, name: &str) -> Step {
        let Some(at) = self.def.indexes.iter().position(|i| i.name.eq_ignore_ascii_case(name)) else { return Ok(()) };
        if keys::holds_identity(&self.def, &self.def.indexes[at]) {
            return Err(Stop(format!("unique key {name}, which identifies rows, was dropped")));
        }
        self.def.indexes.remove(at);
        Ok(())
    }

    fn options(&mut self, options: &TableOptions) {
        if options.charset.is_some() || options.collation.is_some() {
            let said = (options.charset.as_deref(), options.collation.as_deref());
            let old = (self.def.charset.as_str(), self.def.collation.as_str());
            let (charset, collation) = super::charset::resolve(said, old, self.context.flavor, self.context.session);
            self.def.charset = charset;
            self.def.collation = collation;
        }
        if let Some(engine) = &options.engine {
            self.def.engine.clone_from(engine);
        }
        if let Some(comment) = &options.comment {
            self.def.comment.clone_from(comment);
        }
    }

    /// An engine that keeps no rows of its own, before or after.
    fn check_engine(&self, engine: Option<&str>) -> Step {
        let Some(engine) = engine else { return Ok(()) };
        let special = |e: &str| engines::is_blackhole(e) || engines::rows_elsewhere(e).is_some();
        if self.engine_before.eq_ignore_ascii_case(engine) || !(special(engine) || special(&self.engine_before)) {
            return Ok(());
        }
        Err(Stop(format!("ENGINE={engine} instead of {}", self.engine_before)))
    }

    /// CONVERT TO CHARACTER SET: stored text is UTF-8 already, so only types change.
    fn convert(&mut self, charset: Option<&str>, collation: Option<&str>) -> Step {
        let old = (self.def.charset.as_str(), self.def.collation.as_str());
        let (charset, collation) =
            super::charset::resolve((charset, collation), old, self.context.flavor, self.context.session);
        if charset == "binary" {
            return Err(Stop("text was converted to bytes".into()));
        }
        let strict = self.strict();
        for column in &mut self.def.columns {
            let Some(from) = column.ty.charset.clone() else { continue };
            let old = column.ty.clone();
            if max_bytes(&charset) > max_bytes(&from) {
                column.ty.kind = next_text(column.ty.kind);
            }
            column.ty.charset = Some(charset.clone());
            column.ty.collation = Some(collation.clone());
            if let Some(loss) = type_change::loss(&old, &column.ty, strict) {
                return Err(Stop(format!("column {}: {loss}", column.name)));
            }
        }
        self.def.charset = charset;
        self.def.collation = collation;
        Ok(())
    }
}

/// The name a column has after the statement, for clauses that place one.
fn placed_name(action: &AlterAction) -> Option<&str> {
    match action {
        AlterAction::AddColumn { spec, .. } | AlterAction::ChangeColumn { spec, .. } => Some(&spec.name),
        _ => None,
    }
}

/// The next larger TEXT: where the same characters take more bytes, the server makes room.
fn next_text(kind: TypeKind) -> TypeKind {
    match kind {
        TypeKind::TinyText => TypeKind::Text,
        TypeKind::Text => TypeKind::MediumText,
        TypeKind::MediumText => TypeKind::LongText,
        other => other,
    }
}

fn fits(cell: &CellValue, column: &ColumnDef) -> bool {
    tidelake_core::value::array_of(&data_type(&column.ty), std::slice::from_ref(cell)).is_ok()
}

/// The value of old rows in a column whose type grows.
fn convert_initial(cell: &CellValue, old: &ColumnDef, new: &ColumnDef) -> Option<CellValue> {
    let converted = match cell {
        CellValue::Null if new.nullable => CellValue::Null,
        CellValue::Null => literal::implicit(&new.ty)?,
        CellValue::UInt(v) if new.ty.is_integer() && !new.ty.unsigned => CellValue::Int(i64::try_from(*v).ok()?),
        CellValue::Decimal(digits) => {
            let zeros = usize::from(new.ty.scale?.checked_sub(old.ty.scale?)?);
            if digits == "0" { cell.clone() } else { CellValue::Decimal(format!("{digits}{}", "0".repeat(zeros))) }
        }
        other => other.clone(),
    };
    fits(&converted, new).then_some(converted)
}
