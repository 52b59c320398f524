// What llama.cpp says: continues prompts greedily and writes every step's logits.
//   node llama_logits.mjs NODE_MODULES MODEL.gguf PROMPTS.json STEPS OUT.bin
// PROMPTS.json: [[token id, ...], ...]. OUT.bin: for each prompt and step the vocabulary's logits
// as little-endian F32; the token that goes on is the first largest one.
import {createRequire} from "node:module";
import {existsSync, readFileSync, writeFileSync} from "node:fs";
import path from "node:path";

const [modules, model_path, prompts_path, steps_text, out_path] = process.argv.slice(2);
const platform = `${process.platform}-${process.arch}`;
const addon_path =
    path.join(modules, "@node-llama-cpp", platform, "bins", platform, "llama-addon.node");
if (!existsSync(addon_path)) {
  console.error(`no prebuilt llama.cpp for ${platform}`);
  process.exit(3);
}

const llama = createRequire(import.meta.url)(addon_path);
llama.setLogger((level, message) => level <= 2 && process.stderr.write(message));
llama.setLoggerLogLevel(2);
llama.loadBackends();
llama.loadBackends(path.dirname(addon_path));
await llama.init();

const model = new llama.AddonModel(model_path, {addonExports: llama, gpuLayers: 0, useMmap: false});
if (!await model.init()) throw new Error("llama.cpp does not load the model");

const prompts = JSON.parse(readFileSync(prompts_path, "utf8"));
const steps = Number(steps_text);
const F32 = 0;  // the cache would be F16 otherwise, which is no property of the file
const context = new llama.AddonContext(model, {
  contextSize: Math.max(...prompts.map((p) => p.length)) + steps,
  batchSize: 512,
  sequences: prompts.length,
  threads: 1,
  flashAttention: false,
  kvCacheKeyType: F32,
  kvCacheValueType: F32,
});
if (!await context.init()) throw new Error("llama.cpp makes no context");
const sampler = new llama.AddonSampler(model);
sampler.applyConfig?.({temperature: 0});

async function logits_after(sequence, first, tokens) {
  context.initBatch(tokens.length);
  const [index] = context.addToBatch(sequence, first, Uint32Array.from(tokens),
                                     Uint32Array.from([tokens.length - 1]));
  await context.decodeBatch();
  const [, , , pairs] = await context.sampleToken(index, sampler, false, false, true, false);
  const logits = new Float32Array(pairs.length / 2);
  for (let i = 0; i < pairs.length; i += 2) logits[pairs[i]] = pairs[i + 1];
  return logits;
}

const out = [];
for (const [sequence, prompt] of prompts.entries()) {
  let next = prompt, length = 0;
  for (let step = 0; step < steps; ++step) {
    const logits = await logits_after(sequence, length, next);
    length += next.length;
    out.push(Buffer.from(logits.buffer));
    next = [logits.indexOf(Math.max(...logits))];
  }
}
writeFileSync(out_path, Buffer.concat(out));
process.exit(0);  // its threads would keep us
