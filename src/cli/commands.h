// The table of commands: one file per command (cli/<name>.cpp) that parses, calls and prints. A new command is one file,
// one declaration here and one line in the table of main.cpp. Each returns the exit code: 0 done, 1 failed, 2 bad usage.
// Errors may be thrown: main catches them once. With --json: one JSON object on stdout, everything else on stderr.
#pragma once

namespace fathom {

int command_demo(int argc, char** argv);
int command_info(int argc, char** argv);
int command_doctor(int argc, char** argv);
int command_tokenizer(int argc, char** argv);
int command_train(int argc, char** argv);
int command_logits(int argc, char** argv);
int command_eval(int argc, char** argv);
int command_generate(int argc, char** argv);
int command_chat(int argc, char** argv);
int command_convert(int argc, char** argv);
int command_quantize(int argc, char** argv);
int command_bench(int argc, char** argv);
int command_runs(int argc, char** argv);

}  // namespace fathom
