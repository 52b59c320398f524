// A second reader of a GGUF header: prints keys and tensors as JSON.
//   node gguf_header.mjs NODE_MODULES MODEL.gguf
import path from "node:path";
import {pathToFileURL} from "node:url";

const [modules, model] = process.argv.slice(2);
const reader = path.join(modules, "@huggingface", "gguf", "dist", "index.mjs");
const {gguf} = await import(pathToFileURL(reader).href);
const {metadata, tensorInfos} = await gguf(model, {allowLocalFile: true});
const text = (value) => typeof value === "bigint" ? Number(value) : value;
const keys = Object.fromEntries(Object.entries(metadata)
    .map(([key, value]) => [key, Array.isArray(value) ? value.length : text(value)]));
const tensors = tensorInfos.map((t) => ({name: t.name, dims: t.shape.map(Number),
                                         type: Number(t.dtype), offset: Number(t.offset)}));
console.log(JSON.stringify({keys, tensors}));
