// Opens pages of several origins in headless Chromium, has each try everything that a page can do with the admin port, and prints what
// they read and what they were answered, as JSON: pages.mjs FOLDER_OF_NPM CHROMIUM PROFILE ADMIN_PORT AGENT
import http from 'node:http';
import { createRequire } from 'node:module';

const [folder, executablePath, userDataDir, adminPort, agent] = process.argv.slice(2);
const puppeteer = createRequire(`${folder}/`)('puppeteer-core');

// What the attacker's own server gives: its page, the same in a sandbox (whose origin is `null`), and redirects.
const PAGE = '<!doctype html><title>other</title><link rel=icon href="data:,"><body>';
const attacker = http.createServer((request, response) => {
  const url = new URL(request.url, 'http://x');
  if (url.pathname === '/redirect') {
    response.writeHead(Number(url.searchParams.get('code')), { location: url.searchParams.get('to') });
    return response.end();
  }
  const sandbox = url.pathname === '/sandbox' ? { 'content-security-policy': 'sandbox allow-scripts allow-forms' } : {};
  response.writeHead(200, { 'content-type': 'text/html', ...sandbox });
  return response.end(PAGE);
});
await new Promise((done) => attacker.listen(0, '127.0.0.1', done));
const port = attacker.address().port;

// Everything in here runs in the page.
async function attack({ targets, agent, redirects, quick }) {
  const attempts = [];
  const within = (promise, ms) => Promise.race([promise, new Promise((done) => setTimeout(() => done({ stuck: true }), ms))]);
  // What `act` could read is a text; that it is refused is an error.
  const attempt = async (what, act, ms = 15000) => {
    const got = await within(Promise.resolve().then(act).then((read) => ({ read }), (error) => ({ error: String(error) })), ms);
    attempts.push({ what, read: String(got.read ?? ''), error: got.error ?? '', stuck: !!got.stuck });
  };
  const read = async (response) => `${response.type} ${response.status} ${await response.text()}`;
  const json = { 'content-type': 'application/json' };
  // Whether an element loads is what a page can tell; where something of it can be looked at, that.
  const element = (tag, fill, look = () => '') =>
    new Promise((done) => {
      const made = document.createElement(tag);
      // With a frame, what is shown in place of a refusal is loaded too.
      made.onload = () => done(`loaded ${look(made)}`);
      made.onerror = () => done('');
      fill(made);
      document.body.append(made);
    });
  const unreadable = (look) => {
    try {
      return look();
    } catch {
      return '';
    }
  };
  for (const at of targets) {
    const one = (what) => `${what} ${at}`;
    for (const path of ['/config', '/agents', '/metrics']) {
      await attempt(one(`fetch ${path}`), async () => read(await fetch(at + path)));
    }
    await attempt(one('fetch with credentials'), async () => read(await fetch(`${at}/config`, { credentials: 'include' })));
    await attempt(one('fetch no-cors'), async () => read(await fetch(`${at}/config`, { mode: 'no-cors' })));
    await attempt(one('XMLHttpRequest'), () => new Promise((done, failed) => {
      const request = new XMLHttpRequest();
      request.open('GET', `${at}/config`);
      request.onload = () => done(request.responseText);
      request.onerror = () => failed('refused');
      request.send();
    }));
    for (const [path, method] of [['/schema/accept', 'POST'], ['/config/check', 'POST'], [`/agents/${agent}`, 'POST']]) {
      for (const type of ['text/plain', 'application/x-www-form-urlencoded']) {
        const options = { method, mode: 'no-cors', headers: { 'content-type': type }, body: '{}' };
        await attempt(one(`${method} ${path} ${type}`), async () => read(await fetch(at + path, options)));
      }
      await attempt(one(`${method} ${path} json`), async () => read(await fetch(at + path, { method, headers: json, body: '{}' })));
    }
    await attempt(one('POST json no-cors'), async () =>
      read(await fetch(`${at}/schema/accept`, { method: 'POST', mode: 'no-cors', headers: json, body: '{}' })));
    await attempt(one('PUT /log-level'), async () =>
      read(await fetch(`${at}/log-level`, { method: 'PUT', headers: json, body: '{"level":"trace"}' })));
    await attempt(one('sendBeacon'), async () => {
      navigator.sendBeacon(`${at}/schema/accept`, new Blob(['{}'], { type: 'text/plain' }));
      return '';
    });
    for (const code of quick ? [307] : [302, 307]) {
      const to = (path) => `${redirects}/redirect?code=${code}&to=${encodeURIComponent(at + path)}`;
      await attempt(one(`redirect ${code}`), async () => read(await fetch(to('/config'))));
      await attempt(one(`redirect ${code} no-cors`), async () => read(await fetch(to('/config'), { mode: 'no-cors' })));
      const post = { method: 'POST', headers: json, body: '{}' };
      await attempt(one(`redirect ${code} POST`), async () => read(await fetch(to('/schema/accept'), post)));
    }
    await attempt(one('img'), () => element('img', (it) => { it.src = `${at}/config`; }));
    await attempt(one('script'), () => element('script', (it) => { it.src = `${at}/config`; }));
    await attempt(one('module'), async () => JSON.stringify(await import(`${at}/config`)));
    await attempt(one('stylesheet'), () => element('link', (it) => { it.rel = 'stylesheet'; it.href = `${at}/config`; },
      (it) => unreadable(() => [...it.sheet.cssRules].map((rule) => rule.cssText).join())));
    for (const tag of ['iframe', 'object', 'embed']) {
      for (const path of quick ? ['/config'] : ['/', '/config']) {
        await attempt(one(`${tag} ${path}`), () => element(tag, (it) => { it[tag === 'object' ? 'data' : 'src'] = at + path; },
          (it) => unreadable(() => (it.contentDocument ?? it.contentWindow.document).body.innerText)), 3000);
        // A plug-in that is not shown tells nothing: that is no attempt that hangs.
        attempts.at(-1).stuck &&= tag === 'iframe';
      }
    }
    await attempt(one('form'), () => new Promise((done) => {
      const frame = document.createElement('iframe');
      frame.name = `frame${attempts.length}`;
      document.body.append(frame);
      const form = document.createElement('form');
      Object.assign(form, { action: `${at}/schema/accept`, method: 'post', target: frame.name, enctype: 'text/plain' });
      document.body.append(form);
      frame.onload = () => done(unreadable(() => frame.contentDocument.body.innerText));
      form.submit();
    }));
    await attempt(one('WebSocket'), () => new Promise((done) => {
      const socket = new WebSocket(`${at.replace('http', 'ws')}/config`);
      socket.onopen = () => done('portunus_open');
      socket.onmessage = (message) => done(`portunus_${message.data}`);
      socket.onerror = () => done('');
    }));
    await attempt(one('EventSource'), () => new Promise((done) => {
      const source = new EventSource(`${at}/metrics`);
      source.onmessage = (message) => done(`portunus_${message.data}`);
      source.onerror = () => { source.close(); done(''); };
    }));
    await attempt(one('importScripts'), () => new Promise((done) => {
      const code = `try { importScripts('${at}/config'); postMessage('portunus_ran') } catch { postMessage('') }`;
      const worker = new Worker(URL.createObjectURL(new Blob([code], { type: 'text/javascript' })));
      worker.onmessage = (message) => { worker.terminate(); done(message.data); };
      worker.onerror = () => done('');
    }));
    await attempt(one('window'), async () => {
      const opened = window.open(`${at}/config`);
      await new Promise((done) => setTimeout(done, 1500));
      const seen = unreadable(() => opened.document.body.innerText);
      const frames = unreadable(() => String(opened.frames.length || ''));
      opened?.close();
      return seen + frames;
    });
    // Last: where it works, the agent is gone, and then the proxy.
    await attempt(one('DELETE'), async () =>
      read(await fetch(`${at}/agents/${agent}`, { method: 'DELETE', headers: json })));
    for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'application/json']) {
      const options = { method: 'POST', headers: { 'content-type': type }, body: '{}' };
      const mode = type === 'application/json' ? {} : { mode: 'no-cors' };
      await attempt(one(`POST /drain ${type}`), async () => read(await fetch(`${at}/drain`, { ...options, ...mode })));
    }
  }
  return attempts;
}

const browser = await puppeteer.launch({
  executablePath,
  userDataDir,
  headless: true,
  args: [
    '--no-sandbox',
    '--disable-gpu',
    '--disable-dev-shm-usage',
    '--disable-popup-blocking',
    // Every name of `.test` is this machine, as it is to a page whose name was rebound.
    '--host-resolver-rules=MAP *.test 127.0.0.1',
    // What Chromium itself does by now to keep pages from local addresses is off: it is Portunus that has to.
    '--disable-features=LocalNetworkAccessChecks,LocalNetworkAccessChecksWebSockets,BlockInsecurePrivateNetworkRequests,PrivateNetworkAccessSendPreflights',
  ],
});

// What the admin port answers to a page and to what it opens.
async function listen(page, answers) {
  const client = await page.createCDPSession();
  const asked = new Map();
  await client.send('Network.enable');
  client.on('Network.requestWillBeSent', ({ requestId, request, type, frameId }) =>
    asked.set(requestId, { method: request.method, url: request.url, type, top: frameId === page.mainFrame()._id }));
  client.on('Network.responseReceivedExtraInfo', ({ requestId, statusCode }) => {
    const request = asked.get(requestId);
    // A redirect is the attacker's own answer, however late it is told of.
    if (statusCode === 302 || statusCode === 307) return;
    if (request && new URL(request.url).port === adminPort) answers.push({ ...request, status: statusCode });
  });
  return client;
}

async function visit(url, { rebound = false, targets, quick = false }) {
  const page = await browser.newPage();
  const answers = [];
  await listen(page, answers);
  if (rebound) {
    // The page comes from the attacker's server at first; what it asks for from then on, under the same name, from the admin port.
    await page.setRequestInterception(true);
    const first = (request) => request.respond({ status: 200, contentType: 'text/html', body: PAGE });
    page.once('request', first);
    await page.goto(url);
    await page.setRequestInterception(false);
  } else {
    await page.goto(url);
  }
  const redirects = `http://evil.test:${port}`;
  const attempts = await page.evaluate(attack, { targets, agent, redirects, quick });
  // Of what was sent last, such as a beacon.
  await new Promise((done) => setTimeout(done, 300));
  await page.close();
  return { attempts, answers };
}

async function state() {
  const get = async (path) => {
    const response = await fetch(`http://127.0.0.1:${adminPort}${path}`);
    return response.ok ? response.text() : `${response.status}`;
  };
  const agents = JSON.parse(await get('/agents')).map(({ id, owner }) => [id, owner]);
  const parsed = async (path) => JSON.parse(await get(path));
  const level = await get('/log-level');
  return JSON.stringify([agents, await parsed('/config'), await parsed('/config/status'), level, (await parsed('/ready')).missing]);
}

// What a person opens by hand: every endpoint that there is to read.
async function people() {
  const listed = await (await fetch(`http://127.0.0.1:${adminPort}/nothing`)).json();
  const visits = [];
  for (const host of ['127.0.0.1', 'localhost', 'portunus.test']) {
    for (const path of listed.endpoints.filter((path) => !path.includes('{'))) {
      // Some are there to be asked for something only.
      if ((await fetch(`http://127.0.0.1:${adminPort}${path}`)).status === 405) continue;
      const page = await browser.newPage();
      const said = [];
      page.on('console', (message) => said.push(message.text()));
      page.on('pageerror', (error) => said.push(String(error)));
      const url = `http://${host}:${adminPort}${path}`;
      const response = await page.goto(url);
      const text = await page.evaluate(() => document.body.innerText);
      visits.push({ url, status: response.status(), text: text.slice(0, 20000), console: said.filter((text) => !text.includes('favicon')) });
      await page.close();
    }
  }
  return visits;
}

const local = `http://127.0.0.1:${adminPort}`;
const named = `http://portunus.test:${adminPort}`;
const evil = `http://evil.test:${adminPort}`;
const kinds = [
  { name: 'another site', url: `http://evil.test:${port}/`, targets: [local, named, `http://localhost:${adminPort}`] },
  { name: 'another port', url: `http://127.0.0.1:${port}/`, targets: [local, named] },
  { name: 'another port of its name', url: `http://portunus.test:${port}/`, targets: [named] },
  { name: 'no origin', url: `http://evil.test:${port}/sandbox`, targets: [local] },
  { name: 'a rebound name', url: `${evil}/`, rebound: true, targets: [evil] },
  { name: 'a rebound name to the address', url: `${evil}/`, rebound: true, targets: [local] },
];
const result = { pages: [], states: {} };
for (const kind of kinds) {
  result.pages.push({ name: kind.name, ...(await visit(kind.url, kind)) });
  result.states[kind.name] = await state();
}
result.people = await people();
// The admin port's own page: it stands where a console would, and has no policy of its own.
result.own = (await visit(`${local}/`, { rebound: true, targets: [local], quick: true })).attempts;
await browser.close();
attacker.close();
console.log(JSON.stringify(result));
