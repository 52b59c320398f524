// Token ids as Hugging Face's tokenizers give them, for a file of lines.
//   node tokenize.mjs NODE_MODULES DIRECTORY TEXTS.json
// TEXTS.json: [text, ...]. Prints [[id, ...], ...].
import {readFileSync} from "node:fs";
import path from "node:path";
import {pathToFileURL} from "node:url";

const [modules, directory, texts] = process.argv.slice(2);
const library = path.join(modules, "@huggingface", "tokenizers", "dist", "tokenizers.mjs");
const {Tokenizer} = await import(pathToFileURL(library).href);
const read = (name) => JSON.parse(readFileSync(path.join(directory, name), "utf8"));
const tokenizer = new Tokenizer(read("tokenizer.json"), read("tokenizer_config.json"));
console.log(JSON.stringify(JSON.parse(readFileSync(texts, "utf8"))
    .map((text) => Array.from(tokenizer.encode(text).ids))));
