// usage: node tokenizer_peer.mjs MODULES DIR
// For each tokenizer T in DIR/tokenizers.json: encodes DIR/texts.json with DIR/T/tokenizer.json and
// decodes it again; renders DIR/chats.json. Writes DIR/oracle.json:
//   {ids: {T: [[id]]}, decoded: {T: [text]}, rendered: [text], seconds: {T: processor seconds of encoding}}
import { createRequire } from "node:module";
import fs from "node:fs";
import path from "node:path";

const [modules, directory] = process.argv.slice(2);
const find = createRequire(path.join(path.resolve(modules), "oracle.js"));
const { Tokenizer } = find("@huggingface/tokenizers");
const { Template } = find("@huggingface/jinja");
const read = (...parts) => JSON.parse(fs.readFileSync(path.join(directory, ...parts), "utf8"));

const out = { ids: {}, decoded: {}, seconds: {}, rendered: [] };
const texts = read("texts.json");
for (const name of read("tokenizers.json")) {
  const tokenizer = new Tokenizer(read(name, "tokenizer.json"), { clean_up_tokenization_spaces: false });
  const begin = process.cpuUsage();
  out.ids[name] = texts.map((text) => tokenizer.encode(text, { add_special_tokens: false }).ids);
  const used = process.cpuUsage(begin);
  out.seconds[name] = (used.user + used.system) / 1e6;
  out.decoded[name] = out.ids[name].map((ids) => (ids.length ? tokenizer.decode(ids) : ""));
}
if (fs.existsSync(path.join(directory, "chats.json")))
  for (const { template, ...given } of read("chats.json"))
    out.rendered.push(new Template(template).render(given));
fs.writeFileSync(path.join(directory, "oracle.json"), JSON.stringify(out));
