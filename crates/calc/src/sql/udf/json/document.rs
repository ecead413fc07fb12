//! A JSON text taken apart: spelling of numbers and strings is kept, depth is bounded.

/// A value; strings are as written between their quotes, escapes included.
#[derive(Debug)]
pub(super) enum Json {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

/// As MariaDB's `JSON_DEPTH_LIMIT`.
const MAX_DEPTH: usize = 32;

/// Reads a whole document; `None` if it is none.
pub(super) fn parse(text: &str) -> Option<Json> {
    let mut reader = Reader { bytes: text.as_bytes(), text, at: 0 };
    let value = reader.value(0)?;
    reader.space();
    (reader.at == text.len()).then_some(value)
}

struct Reader<'a> {
    bytes: &'a [u8],
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn space(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn taken(&mut self, byte: u8) -> bool {
        self.space();
        let there = self.bytes.get(self.at) == Some(&byte);
        self.at += usize::from(there);
        there
    }

    fn value(&mut self, depth: usize) -> Option<Json> {
        if depth > MAX_DEPTH {
            return None;
        }
        self.space();
        match self.bytes.get(self.at)? {
            b'{' => self.object(depth),
            b'[' => self.array(depth),
            b'"' => self.string().map(Json::Text),
            b't' => self.word("true", Json::Bool(true)),
            b'f' => self.word("false", Json::Bool(false)),
            b'n' => self.word("null", Json::Null),
            _ => self.number(),
        }
    }

    fn word(&mut self, word: &str, value: Json) -> Option<Json> {
        self.text.get(self.at..)?.starts_with(word).then(|| {
            self.at += word.len();
            value
        })
    }

    fn digits(&mut self) -> usize {
        let n = self.bytes[self.at..].iter().take_while(|b| b.is_ascii_digit()).count();
        self.at += n;
        n
    }

    fn number(&mut self) -> Option<Json> {
        let start = self.at;
        self.at += usize::from(self.bytes.get(self.at) == Some(&b'-'));
        let zero = self.bytes.get(self.at) == Some(&b'0');
        let whole = self.digits();
        if whole == 0 || (zero && whole > 1) {
            return None;
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            if self.digits() == 0 {
                return None;
            }
        }
        if matches!(self.bytes.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.bytes.get(self.at), Some(b'+' | b'-')));
            if self.digits() == 0 {
                return None;
            }
        }
        Some(Json::Number(self.text[start..self.at].to_owned()))
    }

    fn string(&mut self) -> Option<String> {
        if !self.taken(b'"') {
            return None;
        }
        let start = self.at;
        loop {
            match self.bytes.get(self.at)? {
                b'"' => break,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        let raw = self.text.get(start..self.at)?.to_owned();
        self.at += 1;
        Some(raw)
    }

    fn array(&mut self, depth: usize) -> Option<Json> {
        self.at += 1;
        let mut all = Vec::new();
        if self.taken(b']') {
            return Some(Json::Array(all));
        }
        loop {
            all.push(self.value(depth + 1)?);
            if self.taken(b']') {
                return Some(Json::Array(all));
            }
            if !self.taken(b',') {
                return None;
            }
        }
    }

    fn object(&mut self, depth: usize) -> Option<Json> {
        self.at += 1;
        let mut all = Vec::new();
        if self.taken(b'}') {
            return Some(Json::Object(all));
        }
        loop {
            let key = self.string()?;
            if !self.taken(b':') {
                return None;
            }
            all.push((key, self.value(depth + 1)?));
            if self.taken(b'}') {
                return Some(Json::Object(all));
            }
            if !self.taken(b',') {
                return None;
            }
        }
    }
}

impl Json {
    /// The value at a path of `.key`, `."key"` and `[n]`.
    pub(super) fn find(&self, path: &str) -> Option<&Json> {
        let mut rest = path.trim().strip_prefix('$')?;
        let mut at = self;
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('[') {
                let (index, tail) = after.split_once(']')?;
                let index: usize = index.trim().parse().ok()?;
                // A value that is no array is an array of itself.
                at = match at {
                    Json::Array(all) => all.get(index)?,
                    other if index == 0 => other,
                    _ => return None,
                };
                rest = tail;
                continue;
            }
            let after = rest.strip_prefix('.')?;
            let (key, tail) = match after.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"')?,
                None => after.split_at(after.find(['.', '[']).unwrap_or(after.len())),
            };
            let Json::Object(all) = at else { return None };
            at = all.iter().find(|(k, _)| unescaped(k) == key).map(|(_, v)| v)?;
            rest = tail;
        }
        Some(at)
    }

    /// As text, with `space` after `,` and `:`.
    pub(super) fn text(&self, space: &str) -> String {
        match self {
            Json::Null => "null".to_owned(),
            Json::Bool(b) => b.to_string(),
            Json::Number(n) => n.clone(),
            Json::Text(raw) => format!("\"{raw}\""),
            Json::Array(all) => {
                format!("[{}]", all.iter().map(|j| j.text(space)).collect::<Vec<_>>().join(&format!(",{space}")))
            }
            Json::Object(all) => {
                let pairs = all.iter().map(|(k, v)| format!("\"{k}\":{space}{}", v.text(space)));
                format!("{{{}}}", pairs.collect::<Vec<_>>().join(&format!(",{space}")))
            }
        }
    }

    /// JSON_LENGTH.
    pub(super) fn length(&self) -> i64 {
        match self {
            Json::Array(all) => all.len() as i64,
            Json::Object(all) => all.len() as i64,
            _ => 1,
        }
    }

    /// JSON_DEPTH.
    pub(super) fn depth(&self) -> i64 {
        1 + match self {
            Json::Array(all) => all.iter().map(Json::depth).max().unwrap_or(0),
            Json::Object(all) => all.iter().map(|(_, v)| v.depth()).max().unwrap_or(0),
            _ => 0,
        }
    }

    /// JSON_TYPE.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Json::Null => "NULL",
            Json::Bool(_) => "BOOLEAN",
            Json::Number(n) if n.contains(['.', 'e', 'E']) => "DOUBLE",
            Json::Number(_) => "INTEGER",
            Json::Text(_) => "STRING",
            Json::Array(_) => "ARRAY",
            Json::Object(_) => "OBJECT",
        }
    }

    /// JSON_KEYS; `None` for what is no object.
    pub(super) fn keys(&self) -> Option<String> {
        let Json::Object(all) = self else { return None };
        let mut keys: Vec<&str> = Vec::new();
        for (key, _) in all {
            if !keys.contains(&key.as_str()) {
                keys.push(key);
            }
        }
        Some(format!("[{}]", keys.iter().map(|k| format!("\"{k}\"")).collect::<Vec<_>>().join(", ")))
    }

    /// JSON_CONTAINS: every part of the candidate is somewhere in this.
    pub(super) fn contains(&self, candidate: &Json) -> bool {
        match (self, candidate) {
            (Json::Array(_), Json::Array(wanted)) => wanted.iter().all(|w| self.contains(w)),
            (Json::Array(all), other) => all.iter().any(|j| j.contains(other)),
            (Json::Object(all), Json::Object(wanted)) => {
                wanted.iter().all(|(k, w)| all.iter().any(|(key, j)| key == k && j.contains(w)))
            }
            (Json::Null, Json::Null) => true,
            (Json::Bool(a), Json::Bool(b)) => a == b,
            (Json::Number(a), Json::Number(b)) => a.parse::<f64>().ok() == b.parse::<f64>().ok(),
            (Json::Text(a), Json::Text(b)) => unescaped(a) == unescaped(b),
            _ => false,
        }
    }
}

/// The text of a JSON string between its quotes; a broken escape stays as it is.
pub(super) fn unescaped(raw: &str) -> String {
    if !raw.contains('\\') {
        return raw.to_owned();
    }
    serde_json::from_str::<String>(&format!("\"{raw}\"")).unwrap_or_else(|_| raw.to_owned())
}

/// A text as a JSON string.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::String(text.to_owned()).to_string()
}
