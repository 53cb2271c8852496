#include "posttrain/demo.h"

#include <algorithm>
#include <cstdio>

#include "base/error.h"
#include "base/files.h"
#include "base/json.h"
#include "base/log.h"
#include "base/progress.h"
#include "checkpoint/hf_directory.h"

namespace fathom {
namespace {

// One worked solution as a conversation.
std::string trace_line(const Problem& p) {
  const Json user = {{"role", "user"}, {"content", p.prompt}};
  const Json assistant = {{"role", "assistant"}, {"reasoning_content", p.trace}, {"content", answer_text(p.answer)}};
  return Json{{"messages", {user, assistant}}}.dump() + "\n";
}

void write_traces(const DemoPlan& plan) {
  const std::string folder = plan.directory + "/data";
  if (file_exists(folder + "/train.jsonl")) return;
  const std::unique_ptr<Task> task = make_task(plan.task.name, plan.task.option_pairs());
  write_directory_atomic(folder, [&](const std::string& temporary) {
    for (const char* split : {"train", "validation"}) {
      const bool train = std::string(split) == "train";
      AtomicFile file(temporary + "/" + split + ".jsonl");
      const int64_t count = train ? plan.num_traces : 300;
      // Validation traces and the problems of the measurements come from the "test" split, from other indices.
      for (int64_t i = 0; i < count; ++i) {
        const std::string line = trace_line(task->make(static_cast<uint64_t>(plan.sft.seed), train ? "train" : "test",
                                                       static_cast<uint64_t>(train ? i : 1'000'000 + i)));
        file.write(line.data(), static_cast<int64_t>(line.size()));
      }
      file.commit();
    }
  });
  log_info("wrote " + std::to_string(plan.num_traces) + " worked solutions of task " + task->name() + " to " + folder);
}

void write_tokenizer(const DemoPlan& plan) {
  const std::string folder = plan.directory + "/tokenizer";
  if (file_exists(folder + "/tokenizer.json")) return;
  const std::unique_ptr<Task> task = make_task(plan.task.name, plan.task.option_pairs());
  std::vector<std::string> texts;
  for (int64_t i = 0; i < std::min<int64_t>(plan.num_traces, 5000); ++i) {
    const Problem p = task->make(static_cast<uint64_t>(plan.sft.seed), "train", static_cast<uint64_t>(i));
    texts.push_back(p.prompt);
    texts.push_back("\n" + p.trace + "\n");
    texts.push_back("\n\n" + answer_text(p.answer));
  }
  const std::vector<std::string_view> views(texts.begin(), texts.end());
  write_directory_atomic(folder, [&](const std::string& temporary) {
    train_tokenizer(views, plan.tokenizer.training(plan.sft.model.shape.max_position_embeddings), temporary);
  });
  log_info("trained a tokenizer of " + std::to_string(plan.tokenizer.vocab_size) + " tokens: " + folder);
}

// The first held-out problems' answers by the model in `directory`.
std::vector<ScoredAnswer> answers_of(const DemoPlan& plan, const std::string& directory, const std::vector<Problem>& problems) {
  const Tokenizer tokenizer = Tokenizer::from_directory(directory);
  const std::unique_ptr<Task> task = make_task(plan.task.name, plan.task.option_pairs());
  Decoder model = load_model(directory, plan.grpo.compute.numerics(), /*training=*/false);
  EngineConfig config;
  config.cache_bytes = int64_t{64} << 20;
  Engine engine(model, config);
  return sample_answers(engine, tokenizer, *task, problems, 1, plan.grpo.rollout.max_tokens, 1.0,
                        {static_cast<uint64_t>(plan.grpo.seed), uint64_t{1} << 41});
}

// One held-out problem before and after: the first that the reinforced model solves and the other does not, else the first.
DemoExample find_example(const DemoPlan& plan, const std::string& after_directory) {
  const std::unique_ptr<Task> task = make_task(plan.task.name, plan.task.option_pairs());
  std::vector<Problem> problems;
  for (uint64_t i = 0; i < 24; ++i)
    problems.push_back(task->make(static_cast<uint64_t>(plan.grpo.seed), "test", 2'000'000 + i));
  const std::vector<ScoredAnswer> before = answers_of(plan, plan.grpo.model.path, problems),
                                  after = answers_of(plan, after_directory, problems);
  size_t pick = 0;
  for (size_t i = problems.size(); i-- > 0;)
    if (after[i].correct && !before[i].correct) pick = i;
  return {problems[pick].prompt, before[pick].text, after[pick].text, before[pick].correct, after[pick].correct};
}

void copy_directory(const std::string& from, const std::string& to) {
  write_directory_atomic(to, [&](const std::string& temporary) {
    for (const std::string& name : list_directory(from)) {
      const std::string bytes = read_file(from + "/" + name);
      AtomicFile file(temporary + "/" + name);
      file.write(bytes.data(), static_cast<int64_t>(bytes.size()));
      file.commit();
    }
  });
}

}  // namespace

DemoResult run_demo(const DemoPlan& plan) {
  const double begin = now_seconds();
  DemoResult result;
  make_directories(plan.directory);
  write_traces(plan);
  write_tokenizer(plan);

  Recipe sft = plan.sft;
  result.sft = train(sft, config_to_yaml([&sft](ConfigFields& f) { sft.fields(f); }), {RunFolder::Resume::kAuto, false});
  result.stopped = result.sft.stopped;
  if (result.stopped) return result;

  result.grpo = train_grpo(plan.grpo, {RunFolder::Resume::kAuto, false});
  result.stopped = result.grpo.stopped;
  if (result.stopped) return result;

  result.model_directory = plan.directory + "/model";
  if (!is_directory(result.model_directory)) copy_directory(result.grpo.model_directory, result.model_directory);
  result.example = find_example(plan, result.model_directory);
  result.seconds = now_seconds() - begin;
  return result;
}

std::string to_json(const DemoResult& r) {
  Json j;
  j["sft"] = parse_json(to_json(r.sft), "sft");
  j["grpo"] = parse_json(to_json(r.grpo), "grpo");
  j["before"] = j["grpo"]["before"];
  j["after"] = j["grpo"]["after"];
  j["intervals_apart"] = r.intervals_apart();
  j["example"] = {{"problem", r.example.problem},
                  {"before", r.example.before},
                  {"before_correct", r.example.before_correct},
                  {"after", r.example.after},
                  {"after_correct", r.example.after_correct}};
  j["stopped"] = r.stopped;
  j["seconds"] = r.seconds;
  j["model"] = r.model_directory;
  return j.dump(2);
}

}  // namespace fathom
