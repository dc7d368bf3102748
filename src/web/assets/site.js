// Everything here is a convenience: each page says the same without it, a little later.
(() => {
  'use strict';
  const $ = (what, where = document) => where.querySelector(what);
  const all = (what) => document.querySelectorAll(what);
  const parse = (html) => new DOMParser().parseFromString(html, 'text/html');

  // Ages and running times grow while one looks. The words are the server's (words.rs).
  const two = (n) => String(n).padStart(2, '0');
  const ago = (s) => s < 10 ? 'just now' : s < 60 ? `${s} s ago` : s < 3600 ? `${Math.floor(s / 60)} min ago`
    : s < 86400 ? `${Math.floor(s / 3600)} h ago` : s < 172800 ? '1 day ago' : `${Math.floor(s / 86400)} days ago`;
  const clock = (s) => (s >= 3600 ? `${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)}` : Math.floor(s / 60)) + `:${two(s % 60)}`;
  const put = (element, text) => { if (element.textContent !== text) element.textContent = text; };
  const tick = () => {
    for (const time of all('time[data-since]')) put(time, clock(Math.max(0, Math.floor((Date.now() - time.dataset.since) / 1000))));
    for (const time of all('time[datetime]')) {
      const age = Math.floor((Date.now() - Date.parse(time.dateTime)) / 1000);
      if (/ago$|now$/.test(time.textContent) && age < 5184000) put(time, ago(Math.max(0, age)));
    }
  };
  setInterval(tick, 1000);

  // What changes is put in again, and said once to those who listen rather than look.
  const said = document.createElement('p');
  said.className = 'sr';
  said.setAttribute('role', 'status');
  document.body.append(said);

  const swap = (selector, html) => {
    const old = $(selector), fresh = $(selector, parse(html));
    if (!old || !fresh || old.outerHTML === fresh.outerHTML) return fresh;
    const open = [...old.querySelectorAll('details')].map((one) => one.open);
    const focused = old.contains(document.activeElement) && document.activeElement.getAttribute('href');
    fresh.querySelectorAll('details').forEach((one, at) => { one.open = Boolean(open[at]); });
    old.replaceWith(fresh);
    if (focused) $(`${selector} a[href="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
    tick();
    return fresh;
  };

  // Colours come as a terminal's, in the one spelling that logs have (colour.rs); what is none stays text.
  const inks = ['grey', 'red', 'green', 'yellow', 'blue', 'magenta', 'cyan'];
  const coloured = (text) => {
    const all = document.createElement('span');
    const parts = text.split(/\x1b\[(|1|(?:1;)?[39][0-7])m/);
    for (let at = 0; at < parts.length; at += 2) {
      const said = at ? parts[at - 1] : '';
      const ink = inks[/[39]([0-7])$/.exec(said)?.[1]];
      const names = [/^1/.test(said) && 'bold', ink && `ink-${ink}`].filter(Boolean).join(' ');
      if (parts[at]) all.append(names ? Object.assign(document.createElement('span'), { className: names, textContent: parts[at] }) : parts[at]);
    }
    return all;
  };

  // A run: its log and its state arrive as they happen.
  const log = $('#log');
  // Lines in the page at most; what is further away is asked for again.
  const most = 3000;
  if (log) fold(log);
  if (log?.dataset.follow) followRun(log);
  else if ($('main').dataset.again) lookAgain(Number($('main').dataset.again) * 1000);

  function followRun(log) {
    let missed = 0;
    let stage = [...log.querySelectorAll('h3')].pop()?.textContent ?? '';
    let soon = 0;
    const pinned = () => log.scrollTop + log.clientHeight > log.scrollHeight - 48;
    const down = () => { log.scrollTop = log.scrollHeight; };
    const refresh = () => {
      clearTimeout(soon);
      soon = setTimeout(async () => {
        const answer = await fetch(`${location.pathname}/now`).catch(() => null);
        if (!answer?.ok) return;
        const before = document.title;
        const now = swap('#now', await answer.text());
        if (now) document.title = `${now.dataset.title} · cc-ci`;
        if (document.title !== before) said.textContent = $('#now h1').textContent;
      }, 150);
    };
    // Whoever scrolls up reads on undisturbed, and is told what came meanwhile.
    const resume = Object.assign(document.createElement('button'), { id: 'resume', type: 'button', hidden: true });
    resume.addEventListener('click', () => { missed = 0; resume.hidden = true; down(); log.focus({ preventScroll: true }); });
    log.after(resume);
    log.addEventListener('scroll', () => { if (pinned()) { missed = 0; resume.hidden = true; } });
    const add = (data) => {
      const stay = pinned();
      if (!stay) {
        missed += data.split('\n').length;
        resume.textContent = `${missed} newer ${missed === 1 ? 'line' : 'lines'}, to the end`;
        resume.hidden = false;
      }
      const lines = document.createDocumentFragment();
      for (const line of data.split('\n')) {
        const [, at, where, stream, text] = /^(\S+) (\S+) (\S+) ?(.*)$/.exec(line) ?? [null, '', '', 'out', line];
        if (where && where !== '-' && where !== stage) {
          stage = where;
          lines.append(Object.assign(document.createElement('h3'), { textContent: stage }));
        }
        const p = document.createElement('p');
        if (stream !== 'out') p.className = stream;
        p.append(Object.assign(document.createElement('b'), { textContent: at === '-' ? '' : at }), coloured(text));
        lines.append(p);
      }
      log.append(lines);
      while (log.childElementCount > (stay ? most : most * 5)) log.firstElementChild.remove();
      if (stay) down();
    };
    const label = $('#following');
    const source = new EventSource(log.dataset.follow);
    source.addEventListener('open', () => { label.hidden = false; });
    source.addEventListener('lines', (event) => add(event.data));
    source.addEventListener('changed', refresh);
    source.addEventListener('end', () => { source.close(); label.hidden = true; refresh(); });
    source.addEventListener('error', () => {
      label.hidden = true;
      // Refused, not interrupted: the page comes anew instead.
      if (source.readyState === EventSource.CLOSED) setTimeout(() => location.reload(), 15000);
    });
    down();
  }

  // Lists: asked for again when something has changed, and now and then; an unchanged one costs nothing. Nobody looks at a page
  // that is hidden, and a browser has few connections.
  function lookAgain(every) {
    const events = $('main').dataset.events;
    let source = null, soon = 0, last = Date.now();
    const look = async () => {
      if (document.hidden || document.activeElement?.matches('input')) return;
      last = Date.now();
      const answer = await fetch(location.href).catch(() => null);
      if (answer?.ok) swap('main', await answer.text());
    };
    const told = () => source?.readyState === EventSource.OPEN;
    setInterval(() => { if (Date.now() - last >= (told() ? 60000 : every) - 500) look(); }, every);
    const listen = () => {
      source?.close();
      source = document.hidden || !events ? null : new EventSource(events);
      source?.addEventListener('changed', () => { clearTimeout(soon); soon = setTimeout(look, 150); });
    };
    document.addEventListener('visibilitychange', listen);
    listen();
  }

  // A stage's lines fold away under its name.
  function fold(log) {
    log.addEventListener('click', (event) => {
      const head = event.target.closest('h3');
      if (!head) return;
      const folded = head.classList.toggle('folded');
      for (let line = head.nextElementSibling; line && line.tagName !== 'H3'; line = line.nextElementSibling) line.hidden = folded;
    });
  }

  const part = async (address) => {
    const answer = await fetch(address).catch(() => null);
    return answer?.ok ? parse(await answer.text()) : null;
  };

  // The links to what lies before and after the lines that are here.
  const link = (id, from) => {
    const old = $(`#${id}`), fresh = from && $(`#${id}`, from);
    if (old && fresh) old.href = fresh.getAttribute('href');
    else if (old && from) old.parentElement.remove();
    else if (fresh) log[id === 'earlier' ? 'before' : 'after'](fresh.parentElement);
  };
  const here = (line) => {
    $('#log .here')?.classList.remove('here');
    line?.classList.add('here');
    line?.scrollIntoView({ block: 'center' });
  };

  // Earlier and later lines come into the page instead of replacing it; at the other end as many go.
  const more = async (which) => {
    const found = await part(which.href);
    if (!found) { location.href = which.href; return; }
    const earlier = which.id === 'earlier';
    const lines = [...$('#log', found).children];
    const anchor = log.firstElementChild, before = anchor?.getBoundingClientRect().top ?? 0;
    if (earlier) log.prepend(...lines); else log.append(...lines);
    link(which.id, found);
    const gone = [];
    while (log.childElementCount > most) gone.push((earlier ? log.lastElementChild : log.firstElementChild).parentElement.removeChild(earlier ? log.lastElementChild : log.firstElementChild));
    if (gone.some((line) => line.id)) {
      const base = location.pathname.replace(/\/lines$/, '');
      const edge = earlier ? gone.filter((line) => line.id).pop() : $('#log p');
      const id = earlier ? 'later' : 'earlier';
      const address = `${base}/lines?${earlier ? 'from' : 'before'}=${edge.id.slice(1)}`;
      if ($(`#${id}`)) $(`#${id}`).href = address;
      else {
        const p = Object.assign(document.createElement('p'), { className: 'more' });
        p.append(Object.assign(document.createElement('a'), { id, href: address, textContent: earlier ? 'Later lines' : 'Earlier lines' }));
        log[earlier ? 'after' : 'before'](p);
      }
    }
    if (earlier && anchor?.isConnected) scrollBy(0, anchor.getBoundingClientRect().top - before);
  };

  const jump = async (address) => {
    const found = await part(address);
    const fresh = found && $('#log', found);
    if (!fresh) { location.href = address; return; }
    log.replaceChildren(...fresh.children);
    link('earlier', found);
    link('later', found);
    const line = $(`#L${fresh.dataset.found}`) ?? $('#log p');
    here(line);
    if (line?.id) history.replaceState(null, '', `#${line.id}`);
  };

  document.addEventListener('click', (event) => {
    const which = event.target.closest('#earlier, #later, .jumps a');
    if (!which || !log || event.metaKey || event.ctrlKey || event.shiftKey) return;
    // While it is followed, places are pages of their own.
    if (which.parentElement.classList.contains('jumps') && log.dataset.follow) return;
    event.preventDefault();
    if (which.id === 'earlier' || which.id === 'later') more(which); else jump(which.href);
  });

  // A link to a line that is not among those shown leads there all the same.
  const toLine = () => {
    const at = /^#L(\d+)$/.exec(location.hash);
    if (!at || !log || log.dataset.follow) return;
    const line = document.getElementById(location.hash.slice(1));
    if (line) here(line);
    else jump(`${location.pathname.replace(/\/lines$/, '')}/lines?from=${at[1]}`);
  };
  addEventListener('hashchange', toLine);
  toLine();

  // Keys, for those who would rather not reach for the mouse.
  const places = { o: ['/', 'the overview'], r: ['/runs', 'runs'], q: ['/queue', 'the queue'], d: ['/decisions', 'decisions'], h: ['/hosts', 'hosts'], s: ['/search', 'search in failures'], a: ['/about', 'about'] };
  const keys = [['j, k', 'next and previous row'], ['enter', 'open it'], ['/', 'find'], ['l', 'to the log'], ['e', 'to the first error'],
    ...Object.entries(places).map(([key, [, name]]) => [`g ${key}`, name]), ['?', 'this list']];
  let went = 0;
  const help = () => {
    let dialog = $('dialog');
    if (!dialog) {
      dialog = document.createElement('dialog');
      dialog.setAttribute('aria-labelledby', 'keys-title');
      const title = Object.assign(document.createElement('h2'), { id: 'keys-title', textContent: 'Keys' });
      const list = document.createElement('dl');
      for (const [key, what] of keys) {
        const term = document.createElement('dt');
        term.append(Object.assign(document.createElement('kbd'), { textContent: key }));
        list.append(term, Object.assign(document.createElement('dd'), { textContent: what }));
      }
      const close = Object.assign(document.createElement('button'), { type: 'button', textContent: 'Close' });
      close.addEventListener('click', () => dialog.close());
      dialog.append(title, list, close);
      document.body.append(dialog);
    }
    dialog.showModal();
  };
  const row = (step) => {
    const rows = [...all('tbody tr a:first-of-type, .queue li a, .decision a')].filter((link, at, links) => {
      const own = link.closest('tr, li, .decision');
      return links.findIndex((other) => other.closest('tr, li, .decision') === own) === at;
    });
    if (!rows.length) return;
    const at = rows.findIndex((link) => link.closest('tr, li, .decision') === document.activeElement?.closest('tr, li, .decision'));
    rows[Math.min(rows.length - 1, Math.max(0, at + step))].focus();
  };
  const acts = {
    '?': help,
    j: () => row(1),
    k: () => row(-1),
    l: () => { log?.focus(); log?.scrollIntoView(); },
    e: () => $('#first-error')?.click(),
    '/': () => ($('main input:not([type=hidden])') ?? $('header a'))?.focus(),
  };
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest('input, dialog')) return;
    if (Date.now() - went < 1500 && places[event.key]) { went = 0; event.preventDefault(); location.href = places[event.key][0]; return; }
    went = event.key === 'g' ? Date.now() : 0;
    if (acts[event.key]) { event.preventDefault(); acts[event.key](); }
  });
})();
