'use strict';
// What a client has done so far: it is told in lines on standard output, as the Java programs do.

const done = {};
let failed = 0;
let stopping = false;

const pause = ms => new Promise(resolve => setTimeout(resolve, ms));

// untilStopped says a word and waits for the end of standard input.
function untilStopped(word) {
  console.log(word);
  return new Promise(resolve => process.stdin.resume().once('end', resolve).once('error', resolve));
}

// count does one call, which has to say true; it may say what is wrong.
async function count(kind, call) {
  let why = 'it answers something else';
  try {
    const right = await call();
    if (right === true) why = null;
    if (typeof right === 'string') why = right;
  } catch (err) {
    console.error(err);
    why = String(err).replace(/\n/g, ' ');
  }
  if (why === null) {
    done[kind] = (done[kind] || 0) + 1;
  } else {
    failed++;
    console.log(`failed ${kind}: ${why}`);
  }
}

// keep does calls, one each 5 ms, until the end.
async function keep(kind, call) {
  while (!stopping) {
    await count(kind, call);
    await pause(5);
  }
}

// calls does all kinds of calls at the same time until standard input ends.
async function calls(kinds) {
  const all = Object.entries(kinds).map(([ kind, call ]) => keep(kind, call));
  const printer = setInterval(() => print('so far'), 50);
  await untilStopped('calling');
  stopping = true;
  clearInterval(printer);
  await Promise.all(all);
}

// print says in one line how much failed, and how often each kind was done.
function print(word) {
  console.log(`${word}: failed=${failed}` + Object.entries(done).map(([ kind, n ]) => ` ${kind}=${n}`).join(''));
}

module.exports = { calls, count, pause, print, untilStopped };
