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

  // A run: its log and its state arrive as they happen.
  const log = $('#log');
  if (log?.dataset.follow) followRun(log);
  else if ($('main').dataset.again) lookAgain(Number($('main').dataset.again) * 1000);

  function followRun(log) {
    const most = 5000;
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
    const add = (data) => {
      const stay = pinned();
      const lines = document.createDocumentFragment();
      for (const line of data.split('\n')) {
        const [, at, where, stream, text] = /^(\S+) (\S+) (\S+) ?(.*)$/.exec(line) ?? [null, '', '', 'out', line];
        if (where && where !== '-' && where !== stage) {
          stage = where;
          lines.append(Object.assign(document.createElement('h3'), { textContent: stage }));
        }
        const p = document.createElement('p');
        if (stream !== 'out') p.className = stream;
        p.append(Object.assign(document.createElement('b'), { textContent: at === '-' ? '' : at }),
          Object.assign(document.createElement('span'), { textContent: text }));
        lines.append(p);
      }
      log.append(lines);
      while (stay && log.childElementCount > most) log.firstElementChild.remove();
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

  // Lists: asked for again while somebody looks; an unchanged one costs nothing.
  function lookAgain(every) {
    setInterval(async () => {
      if (document.hidden || document.activeElement?.matches('input')) return;
      const answer = await fetch(location.href).catch(() => null);
      if (answer?.ok) swap('main', await answer.text());
    }, every);
  }

  // Earlier and later lines come into the page instead of replacing it.
  document.addEventListener('click', async (event) => {
    const link = event.target.closest('#earlier, #later');
    if (!link || event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    const answer = await fetch(link.href).catch(() => null);
    if (!answer?.ok) { location.href = link.href; return; }
    const part = parse(await answer.text());
    const lines = [...$('#log', part).children];
    const next = $(`#${link.id}`, part);
    const height = document.documentElement.scrollHeight, inner = log.scrollHeight;
    if (link.id === 'earlier') {
      log.prepend(...lines);
      log.scrollTop += log.scrollHeight - inner;
      scrollBy(0, document.documentElement.scrollHeight - height);
    } else log.append(...lines);
    if (next) link.href = next.getAttribute('href'); else link.parentElement.remove();
  });
})();
