// fathom: a table of commands; each command's file parses, calls and prints.
#include <cstdio>
#include <cstring>
#include <exception>
#include <new>
#include <string>

#include "base/error.h"
#include "base/numa.h"
#include "base/thread_pool.h"
#include "cli/commands.h"

namespace {

struct Command {
  const char* name;
  int (*run)(int argc, char** argv);
  const char* help;
};

constexpr Command kCommands[] = {
    {"demo", fathom::command_demo, "train a small DeepSeek-V3 on reasoning traces, reinforce it, show before and after"},
    {"info", fathom::command_info, "what a model is, what its files hold, and what this machine could do with it"},
    {"doctor", fathom::command_doctor, "what this machine can do: instruction sets, peak rates, bandwidth, memory"},
    {"tokenizer", fathom::command_tokenizer, "train, encode, decode: BPE, compatible with tokenizer.json"},
    {"train", fathom::command_train, "run one training stage from a recipe: pretrain, sft, grpo"},
    {"logits", fathom::command_logits, "logits, loss and token log-probabilities of given ids or text"},
    {"eval", fathom::command_eval, "perplexity of a model on a text, and how far it lies from a baseline"},
    {"generate", fathom::command_generate, "complete one prompt"},
    {"chat", fathom::command_chat, "talk to a model in the terminal"},
    {"convert", fathom::command_convert, "Hugging Face directory <-> GGUF file, and to other types"},
    {"quantize", fathom::command_quantize, "fewer bits a weight: int8 and GGUF types; sizes and the error of the weights"},
    {"bench", fathom::command_bench, "ops, prefill, decode, training steps against the machine's peak"},
    {"runs", fathom::command_runs, "list, show and compare training runs"},
};

void print_help(std::FILE* out) {
  std::fputs("fathom: the DeepSeek-V3 / R1 system as one program\n\nusage: fathom COMMAND [options]; fathom COMMAND --help\n\n",
             out);
  for (const Command& c : kCommands) std::fprintf(out, "  %-10s %s\n", c.name, c.help);
  std::fputs(
      "\nThe main job on embedded data, in minutes: fathom demo\n"
      "Environment: FATHOM_THREADS=N, FATHOM_ISA=avx512_vnni|avx2|portable|..., "
      "FATHOM_NUMA=interleave|off (see `fathom doctor`)\n"
      "Exit codes: 0 done, 1 failed, 2 bad usage or input\n",
      out);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    print_help(stderr);
    return 2;
  }
  const std::string name = argv[1];
  if (name == "--help" || name == "-h" || name == "help") {
    print_help(stdout);
    return 0;
  }
  if (name == "--version") {
    std::puts("fathom 0.1.0");
    return 0;
  }
  for (const Command& c : kCommands) {
    if (name != c.name) continue;
    try {
      fathom::flush_denormals();
      fathom::numa_off();  // a wrong FATHOM_NUMA is told before any work
      return c.run(argc - 1, argv + 1);
    } catch (const fathom::Error& e) {
      std::fprintf(stderr, "fathom %s: %s\n", c.name, e.what());
      return static_cast<int>(e.kind());
    } catch (const std::bad_alloc&) {
      std::fprintf(stderr, "fathom %s: out of memory; try a smaller model, batch or cache\n", c.name);
      return 1;
    } catch (const std::exception& e) {
      std::fprintf(stderr, "fathom %s: %s\n", c.name, e.what());
      return 1;
    }
  }
  std::fprintf(stderr, "fathom: no command '%s'; `fathom --help` lists them\n", name.c_str());
  return 2;
}
