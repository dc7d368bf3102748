//! Takes secrets out of everything that leaves: logs, pages, comments, errors, the database.
//!
//! A secret is looked for as it is and in the forms in which programs like to show it again. Text comes in pieces, cut
//! anywhere; a [`Masker`] holds back what could still become a secret, never more than the longest one, and nothing at all
//! when the end of a piece begins none. Where matches overlap, all they cover is masked: of two secrets that share
//! letters neither leaves a rest.
//!
//! Secrets of one run are registered with a scope of its own ([`Redactor::scope`]) and forgotten with it, so that the
//! work of years does not pile up here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use zeroize::Zeroize;

use super::Secret;
use super::forms;
use super::needles::Needles;

/// A shorter value is in too many innocent words.
pub const SHORTEST: usize = 8;

/// What became of a secret that was registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registered {
    Masked,
    /// Fewer than [`SHORTEST`] bytes: it cannot be masked, and is named by [`Redactor::unredactable`].
    TooShort,
}

/// Knows all secrets of the process. Clones know the same.
#[derive(Clone)]
pub struct Redactor {
    shared: Arc<Shared>,
    scope: Arc<Scope>,
}

/// Says nothing: what it knows is secret.
impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Redactor")
    }
}

struct Shared {
    known: Mutex<Known>,
    needles: RwLock<Arc<Needles>>,
}

#[derive(Default)]
struct Known {
    next_scope: u64,
    /// By scope, then name.
    secrets: BTreeMap<(u64, String), Secret>,
    too_short: BTreeSet<(u64, String)>,
}

/// The secrets registered with it are forgotten when its last user is gone.
struct Scope {
    number: u64,
    shared: Arc<Shared>,
}

impl Drop for Scope {
    fn drop(&mut self) {
        let mut known = lock(&self.shared.known);
        let before = known.secrets.len();
        known.secrets.retain(|(scope, _), _| *scope != self.number);
        known.too_short.retain(|(scope, _)| *scope != self.number);
        if known.secrets.len() != before {
            self.shared.rebuild(&known);
        }
    }
}

impl Shared {
    fn rebuild(&self, known: &Known) {
        let needles = Arc::new(needles(known));
        *self.needles.write().unwrap_or_else(PoisonError::into_inner) = needles;
    }

    fn needles(&self) -> Arc<Needles> {
        Arc::clone(&self.needles.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What is behind these locks is replaced whole, so a panic elsewhere leaves nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Default for Redactor {
    fn default() -> Redactor {
        Redactor::new()
    }
}

impl Redactor {
    /// One that knows nothing yet.
    pub fn new() -> Redactor {
        let shared =
            Arc::new(Shared { known: Mutex::default(), needles: RwLock::new(Arc::new(needles(&Known::default()))) });
        Redactor { scope: Arc::new(Scope { number: 0, shared: Arc::clone(&shared) }), shared }
    }

    /// Knows the same, and what is registered with it or its clones is forgotten with the last of them. Everybody masks it
    /// until then.
    pub fn scope(&self) -> Redactor {
        let mut known = lock(&self.shared.known);
        known.next_scope += 1;
        let scope = Scope { number: known.next_scope, shared: Arc::clone(&self.shared) };
        Redactor { shared: Arc::clone(&self.shared), scope: Arc::new(scope) }
    }

    /// From now on `secret` is masked as `[secret NAME]`. A name that is known already gets another value beside its first.
    pub fn register(&self, name: &str, secret: &Secret) -> Registered {
        let mut known = lock(&self.shared.known);
        if secret.expose().len() < SHORTEST {
            known.too_short.insert((self.scope.number, name.to_owned()));
            return Registered::TooShort;
        }
        let mut key = (self.scope.number, name.to_owned());
        while let Some(present) = known.secrets.get(&key) {
            if present.expose() == secret.expose() {
                return Registered::Masked;
            }
            key.1.push('\'');
        }
        known.secrets.insert(key, secret.clone());
        self.shared.rebuild(&known);
        Registered::Masked
    }

    /// A text that is whole.
    pub fn mask(&self, text: &str) -> String {
        let masked = self.mask_bytes(text.as_bytes());
        // Secrets are text and masks are, so what remains between them is.
        String::from_utf8(masked).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }

    /// Bytes that are whole.
    pub fn mask_bytes(&self, bytes: &[u8]) -> Vec<u8> {
        let mut shown = Vec::with_capacity(bytes.len());
        let mut masker = self.stream();
        masker.push(bytes, &mut shown);
        masker.finish(&mut shown);
        shown
    }

    /// For text that comes in pieces.
    pub fn stream(&self) -> Masker {
        Masker { redactor: self.clone(), held: Vec::new(), covered: 0, between: VecDeque::new() }
    }

    /// Names of secrets that are too short to be masked.
    pub fn unredactable(&self) -> Vec<String> {
        lock(&self.shared.known).too_short.iter().map(|(_, name)| name.clone()).collect()
    }
}

/// Masks text that comes in pieces. One for each stream.
pub struct Masker {
    redactor: Redactor,
    /// The end of what came: it may be the beginning of a secret.
    held: Vec<u8>,
    /// So much of the beginning of `held` belongs to a secret whose mask is out already.
    covered: usize,
    between: Between,
}

/// What stands between the letters of a text and is none of them, such as a colour: before which byte, and what. It hides no
/// secret, and comes behind the mask of one in whose midst it stood.
pub(super) type Between = VecDeque<(usize, Vec<u8>)>;

impl Masker {
    /// Takes a piece and appends to `masked` what is safe to show.
    pub fn push(&mut self, bytes: &[u8], masked: &mut Vec<u8>) {
        self.push_around(bytes, [], masked);
    }

    /// The same, with what stands between the letters of this piece.
    pub(crate) fn push_around(
        &mut self,
        bytes: &[u8],
        between: impl IntoIterator<Item = (usize, Vec<u8>)>,
        masked: &mut Vec<u8>,
    ) {
        let before = self.held.len();
        self.between.extend(between.into_iter().map(|(at, what)| (before + at, what)));
        let needles = self.redactor.shared.needles();
        if self.held.is_empty() {
            // The common case: nothing was held back, so nothing has to be copied before it is looked at.
            let settled = needles.settled(bytes);
            self.covered = needles.mask(bytes, settled, 0, &mut self.between, masked);
            self.pass(settled);
            self.held.extend_from_slice(&bytes[settled..]);
        } else {
            self.held.extend_from_slice(bytes);
            let settled = needles.settled(&self.held);
            self.covered = needles.mask(&self.held, settled, self.covered, &mut self.between, masked);
            self.pass(settled);
            self.forget(settled);
        }
    }

    /// There is no more: what was held back was innocent, or is masked.
    pub fn finish(&mut self, masked: &mut Vec<u8>) {
        let needles = self.redactor.shared.needles();
        needles.mask(&self.held, self.held.len(), self.covered, &mut self.between, masked);
        self.between.drain(..).for_each(|(_, what)| masked.extend_from_slice(&what));
        self.covered = 0;
        self.held.zeroize();
    }

    /// So much of the text is settled; places count from its end now.
    fn pass(&mut self, count: usize) {
        self.between.iter_mut().for_each(|(at, _)| *at = at.saturating_sub(count));
    }

    fn forget(&mut self, count: usize) {
        let rest = self.held.len() - count;
        self.held.copy_within(count.., 0);
        self.held[rest..].zeroize();
        self.held.truncate(rest);
    }
}

/// Every form of every secret, with what stands in its place. The first name to claim a form keeps it.
fn needles(known: &Known) -> Needles {
    let mut all: BTreeMap<Vec<u8>, Arc<[u8]>> = BTreeMap::new();
    for ((_, name), secret) in &known.secrets {
        let mask: Arc<[u8]> = mask_text(name, known).into_bytes().into();
        for form in forms::of(secret.expose()) {
            if form.len() >= SHORTEST {
                all.entry(form).or_insert_with(|| Arc::clone(&mask));
            }
        }
    }
    Needles::new(all)
}

/// What stands in the place of a secret. A name that holds a secret itself is left out.
fn mask_text(name: &str, known: &Known) -> String {
    let name: String = name.trim_end_matches('\'').chars().filter(|char| !char.is_control()).take(80).collect();
    let speaks = known.secrets.values().any(|secret| name.contains(secret.expose()));
    if speaks { "[secret]".into() } else { format!("[secret {name}]") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    use proptest::prelude::*;

    fn knowing(secrets: &[&str]) -> Redactor {
        let redactor = Redactor::new();
        for (number, secret) in secrets.iter().enumerate() {
            redactor.register(&format!("s{number}"), &Secret::new(*secret));
        }
        redactor
    }

    fn in_pieces(redactor: &Redactor, text: &[u8], cuts: &[usize]) -> Vec<u8> {
        let (mut masker, mut shown, mut from) = (redactor.stream(), Vec::new(), 0);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (text.len() + 1)).collect();
        cuts.sort_unstable();
        for cut in cuts {
            masker.push(&text[from..cut], &mut shown);
            from = cut;
        }
        masker.push(&text[from..], &mut shown);
        masker.finish(&mut shown);
        shown
    }

    fn contains(text: &[u8], part: &[u8]) -> bool {
        !part.is_empty() && text.windows(part.len()).any(|window| window == part)
    }

    #[test]
    fn a_secret_is_replaced_by_its_name() {
        let redactor = knowing(&["hunter2hunter2", "correct horse"]);
        assert_eq!(redactor.mask("a hunter2hunter2 b correct%20horse c"), "a [secret s0] b [secret s1] c");
        assert_eq!(redactor.mask("nothing here"), "nothing here");
    }

    #[test]
    fn one_that_is_too_short_is_named_and_left() {
        let redactor = Redactor::new();
        assert_eq!(redactor.register("pin", &Secret::new("1234567")), Registered::TooShort);
        assert_eq!(redactor.unredactable(), ["pin"]);
        assert_eq!(redactor.mask("1234567"), "1234567");
    }

    #[test]
    fn a_prefix_and_an_overlap_leave_no_rest() {
        let redactor = knowing(&["password", "password-long", "long-tail-end"]);
        assert_eq!(redactor.mask("x password-long y"), "x [secret s1] y");
        assert_eq!(redactor.mask("x password-long-tail-end y"), "x [secret s1] y");
        let row = knowing(&["aaaaaaaa"]);
        assert_eq!(row.mask(&format!("b{}b", "a".repeat(1000))), "b[secret s0]b");
        assert_eq!(in_pieces(&row, &[b'a'; 1000], &(0..1000).collect::<Vec<_>>()), b"[secret s0]");
    }

    #[test]
    fn what_begins_no_secret_is_not_held_back() {
        let redactor = knowing(&["hunter2hunter2"]);
        let (mut masker, mut shown) = (redactor.stream(), Vec::new());
        masker.push(b"waiting for h", &mut shown);
        assert_eq!(shown, b"waiting for ");
        masker.push(b"ttp\n", &mut shown);
        assert_eq!(shown, b"waiting for http\n");
    }

    #[test]
    fn a_name_that_tells_the_secret_is_not_shown() {
        let redactor = Redactor::new();
        redactor.register("hunter2hunter2", &Secret::new("hunter2hunter2"));
        assert_eq!(redactor.mask("hunter2hunter2"), "[secret]");
    }

    #[test]
    fn a_scope_is_forgotten_with_its_last_user() {
        let redactor = knowing(&["of the machine"]);
        let run = redactor.scope();
        run.register("db", &Secret::new("of the run!"));
        run.register("pin", &Secret::new("123"));
        let text = "of the machine, of the run!";
        assert_eq!(redactor.mask(text), "[secret s0], [secret db]");
        let second = run.clone();
        drop(run);
        assert_eq!(redactor.mask(text), "[secret s0], [secret db]");
        drop(second);
        assert_eq!(redactor.mask(text), "[secret s0], of the run!");
        assert!(redactor.unredactable().is_empty());
    }

    #[test]
    fn one_name_may_have_several_values() {
        let redactor = Redactor::new();
        redactor.register("db", &Secret::new("first value"));
        redactor.register("db", &Secret::new("second value"));
        assert_eq!(redactor.mask("first value second value"), "[secret db] [secret db]");
    }

    /// Every way in which the tests below show a secret.
    fn shown(secret: &str, way: usize) -> String {
        match way {
            0 => secret.to_owned(),
            1 => hex::encode(secret),
            2 => hex::encode_upper(secret),
            3 => STANDARD.encode(secret),
            4 => URL_SAFE_NO_PAD.encode(secret),
            5 => hex::encode(secret).as_bytes().chunks(2).map(String::from_utf8_lossy).collect::<Vec<_>>().join(" "),
            6 => serde_json::to_string(secret).unwrap().trim_matches('"').to_owned(),
            _ => format!(
                "%{}",
                hex::encode_upper(secret)
                    .as_bytes()
                    .chunks(2)
                    .map(String::from_utf8_lossy)
                    .collect::<Vec<_>>()
                    .join("%")
            ),
        }
    }

    // No brackets: a secret that looks like a mask can be put together from one and what stands beside it.
    const SECRET: &str = "[ -Z^-~äß\n]{8,40}";
    const TEXT: &str = "[ -Z^-~äß\n]{0,60}";

    proptest! {
        #[test]
        fn no_secret_comes_through_in_any_form(
            secrets in proptest::collection::vec(SECRET, 1..4),
            parts in proptest::collection::vec((TEXT, 0usize..4, 0usize..8), 1..6),
            cuts in proptest::collection::vec(any::<usize>(), 0..20),
        ) {
            // JSON's quotes at the very ends are cut above, and trimmed values are told apart from their spaces.
            let secrets: Vec<String> = secrets.into_iter().map(|secret| format!("s{}e", secret.replace('"', "q"))).collect();
            let redactor = knowing(&secrets.iter().map(String::as_str).collect::<Vec<_>>());
            let mut text = String::new();
            for (around, which, way) in &parts {
                text.push_str(around);
                text.push_str(&shown(&secrets[which % secrets.len()], *way));
            }
            let masked = in_pieces(&redactor, text.as_bytes(), &cuts);
            for secret in &secrets {
                for form in forms::of(secret).iter().filter(|form| form.len() >= SHORTEST) {
                    prop_assert!(!contains(&masked, form), "{:?} in {:?}", String::from_utf8_lossy(form), String::from_utf8_lossy(&masked));
                }
            }
            prop_assert_eq!(String::from_utf8(masked).unwrap(), redactor.mask(&text));
        }

        #[test]
        fn a_secret_inside_of_something_encoded_does_not_come_through(
            secret in "[!-~]{8,40}", before in "[ -~]{0,7}", after in "[ -~]{0,7}",
        ) {
            let redactor = knowing(&[&secret]);
            let masked = redactor.mask(&STANDARD.encode(format!("{before}{secret}{after}")));
            prop_assert!(masked.contains("[secret s0]"), "{}", masked);
            // What remains of the secret is a part of a letter at each end.
            prop_assert!(masked.len() <= (before.len() + after.len()) * 4 / 3 + 8 + "[secret s0]".len());
        }

        #[test]
        fn text_without_secrets_stays_as_it_is(
            secrets in proptest::collection::vec("[a-m]{8,12}", 0..4),
            text in proptest::collection::vec(any::<u8>(), 0..300),
            cuts in proptest::collection::vec(any::<usize>(), 0..20),
        ) {
            let redactor = knowing(&secrets.iter().map(String::as_str).collect::<Vec<_>>());
            let innocent = secrets.iter().all(|secret| forms::of(secret).iter().all(|form| !contains(&text, form)));
            prop_assume!(innocent);
            prop_assert_eq!(in_pieces(&redactor, &text, &cuts), text);
        }

        #[test]
        fn cuts_change_nothing_where_letters_repeat(
            secrets in proptest::collection::vec("[ab]{8,11}", 1..4),
            text in "[ab]{0,200}",
            cuts in proptest::collection::vec(any::<usize>(), 0..50),
        ) {
            let redactor = knowing(&secrets.iter().map(String::as_str).collect::<Vec<_>>());
            let masked = in_pieces(&redactor, text.as_bytes(), &cuts);
            prop_assert_eq!(String::from_utf8(masked).unwrap(), redactor.mask(&text));
        }
    }
}
