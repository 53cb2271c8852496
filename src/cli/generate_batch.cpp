#include "cli/generate_batch.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <set>

#include "base/error.h"
#include "base/json.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/utf8.h"
#include "checkpoint/hf_directory.h"
#include "cli/completion_json.h"
#include "cli/result_lines.h"
#include "cli/sampling_options.h"
#include "data/line_reader.h"
#include "infer/engine.h"
#include "infer/step_trace.h"

namespace fathom {
namespace {

constexpr int64_t kWaitingResults = 16;  // lines that are read and not written, for each sequence that runs

int64_t count_lines(const std::string& path) {
  LineReader lines(path);
  for (std::string_view line; lines.next(line);) {
  }
  return lines.line_number();
}

bool is_blank(std::string_view line) { return line.find_first_not_of(" \t") == line.npos; }

Json parse_line(std::string_view line, const std::string& source) {
  Json json = parse_json(line, source);
  if (!json.is_object()) fail_usage("generate", "an object is expected");
  return json;
}
Json id_of(const Json& json, int64_t line) {
  if (!json.contains("id")) return line;
  if (!json["id"].is_string() && !json["id"].is_number())
    fail_usage("generate", "id is " + printable(json["id"].dump(), 40) + "; it must be text or a number");
  return json["id"];
}
int64_t whole_number(const Json& json, const char* field, int64_t low, int64_t otherwise) {
  if (!json.contains(field) || json[field].is_null()) return otherwise;
  const Json& value = json[field];
  if (!value.is_number_integer() || (value.is_number_unsigned() && value.get<uint64_t>() > INT64_MAX) ||
      value.get<int64_t>() < low)
    fail_usage("generate", std::string(field) + " is " + printable(value.dump(), 40) + "; it must be a whole number from " +
                               std::to_string(low));
  return value.get<int64_t>();
}

struct Item {
  int64_t line = 0, prompt_tokens = 0;
  Json id, metadata;
};

class BatchRun {
 public:
  BatchRun(const ModelConfig& config, const std::optional<Tokenizer>& tokenizer, int64_t room,
           const GenerateBatchOptions& options, Engine& engine, ResultLines& results)
      : config_(config), tokenizer_(tokenizer), room_(room), options_(options), engine_(engine), results_(results) {}

  int run(int64_t num_lines);

 private:
  void read_on(LineReader& lines);
  void check_before(const std::string& source, int64_t number, std::string_view line) const;
  void submit(const std::string& source, int64_t number, std::string_view line);
  Request request_of(const Json& json, const std::string& source, Item& item) const;
  void put(int64_t line, Json result);  // writes, or keeps until it is its turn
  void collect();

  const ModelConfig& config_;
  const std::optional<Tokenizer>& tokenizer_;
  const int64_t room_;
  const GenerateBatchOptions& options_;
  Engine& engine_;
  ResultLines& results_;
  std::map<uint64_t, Item> running_;
  std::set<int64_t> open_;           // lines read and not written
  std::map<int64_t, Json> waiting_;  // results that wait for an earlier line's
  bool ended_ = false;
  int64_t passed_ = 0;  // lines that are blank, or had a result before
  int64_t written_ = 0, failed_ = 0, tokens_ = 0;
};

Request BatchRun::request_of(const Json& json, const std::string& source, Item& item) const {
  static const std::set<std::string> kOwn = {"id",       "metadata",   "prompt", "prompt_ids",
                                             "messages", "max_tokens", "seed",   "logit_bias"};
  const auto sampling = sampling_fields();
  for (const auto& [key, value] : json.members())
    if (!kOwn.contains(key) &&
        std::none_of(sampling.begin(), sampling.end(), [&](const SamplingField& f) { return key == f.name; }))
      fail_usage("generate", "unknown field \"" + printable(key, 40) + "\"; put what is yours into \"metadata\"");
  if (json.contains("prompt") + json.contains("prompt_ids") + json.contains("messages") != 1)
    fail_usage("generate", "exactly one of prompt, prompt_ids and messages is needed");
  PromptOptions prompt = options_.prompt;
  if (json.contains("prompt")) {
    if (!json["prompt"].is_string()) fail_usage("generate", "prompt must be text");
    prompt.text = json["prompt"].get<std::string>();
    prompt.has_text = true;
  } else if (json.contains("messages")) {
    prompt.chat = true;
    prompt.messages_json = json["messages"].dump();
  } else {
    const Json& ids = json["prompt_ids"];
    if (!ids.is_array() || ids.empty() ||
        !std::all_of(ids.begin(), ids.end(), [](const Json& id) { return id.is_number_unsigned(); }))
      fail_usage("generate", "prompt_ids must be a list of token ids, as [1, 2, 3]");
    for (const Json& id : ids) prompt.ids += id.dump() + ",";
    prompt.has_ids = true;
  }
  Request request;
  try {
    request.prompt = prompt.read(config_, tokenizer_, room_);
  } catch (const Error& e) {
    fail_usage("generate", std::string(prompt.has_ids    ? "prompt_ids"
                                       : prompt.has_text ? "prompt"
                                                         : "messages") +
                               ": " + e.what());
  }
  item.prompt_tokens = static_cast<int64_t>(request.prompt.size());
  request.sampling = options_.sampling;
  read_sampling_fields(json, source, request.sampling);
  if (json.contains("logit_bias")) request.sampling.logit_bias = logit_bias_of(json["logit_bias"], source, config_.vocab_size);
  const int64_t left = room_ - item.prompt_tokens;
  if (left < 1)
    fail_usage("generate", "the prompt fills all " + std::to_string(room_) +
                               " positions of the model (max_position_embeddings); shorten it, or give --allow-long");
  request.max_tokens = std::min(left, whole_number(json, "max_tokens", 1, options_.max_tokens));
  request.seed = static_cast<uint64_t>(whole_number(json, "seed", 0, static_cast<int64_t>(options_.seed)));
  request.sequence = static_cast<uint64_t>(item.line - 1);
  request.stop_ids = options_.stop_ids;
  request.top_logprobs = options_.top_logprobs;
  return request;
}

void BatchRun::submit(const std::string& source, int64_t number, std::string_view line) {
  Item item;
  item.line = number;
  item.id = number;
  open_.insert(number);
  try {
    const Json json = parse_line(line, source);
    item.id = id_of(json, number);
    if (json.contains("metadata")) item.metadata = json["metadata"];
    const uint64_t id = engine_.submit(request_of(json, source, item), [this](int32_t, float) { ++tokens_; });
    running_.emplace(id, std::move(item));
  } catch (const Error& e) {
    ++failed_;
    std::string what = e.what();
    if (what.find(source) == what.npos) what = source + ": " + what;
    log_warning(what);
    Json result = {{"id", item.id}, {"line", number}};
    if (!item.metadata.is_null()) result["metadata"] = item.metadata;
    result["error"] = what;
    put(number, std::move(result));
  }
}

// A line that has a result: of this very line?
void BatchRun::check_before(const std::string& source, int64_t number, std::string_view line) const {
  Json id = number;
  try {
    id = id_of(parse_line(line, source), number);
  } catch (const Error&) {  // its result is an error under its number
  }
  if (const std::string& theirs = results_.before().at(number); id.dump() != theirs)
    fail_usage("generate", source + " has the id " + printable(id.dump(), 40) + ", its result in " + options_.output + " " +
                               printable(theirs, 40) + "; they are of another input: give another --output");
}

void BatchRun::put(int64_t line, Json result) {
  waiting_.emplace(line, std::move(result));
  while (!waiting_.empty() && (options_.as_done || waiting_.begin()->first == *open_.begin())) {
    results_.write(waiting_.begin()->second);
    open_.erase(waiting_.begin()->first);
    waiting_.erase(waiting_.begin());
    ++written_;
  }
}

void BatchRun::collect() {
  for (auto it = running_.begin(); it != running_.end();) {
    if (!engine_.finished(it->first)) {
      ++it;
      continue;
    }
    const Item& item = it->second;
    Json result = {{"id", item.id}, {"line", item.line}};
    if (!item.metadata.is_null()) result["metadata"] = item.metadata;
    result["prompt_tokens"] = item.prompt_tokens;
    result.update(completion_json(engine_.take(it->first), tokenizer_, options_.show_special));
    put(item.line, std::move(result));
    it = running_.erase(it);
  }
}

// Twice what runs, so that the engine always has someone to let in.
void BatchRun::read_on(LineReader& lines) {
  std::string_view line;
  while (static_cast<int64_t>(running_.size()) < 2 * options_.max_sequences &&
         static_cast<int64_t>(open_.size()) < kWaitingResults * options_.max_sequences && !stop_requested()) {
    if (!lines.next(line)) {
      ended_ = true;
      return;
    }
    const int64_t number = lines.line_number();
    const std::string source = options_.input + ":" + std::to_string(number);
    const bool before = results_.before().contains(number);
    if (before) check_before(source, number, line);
    if (before || is_blank(line))
      ++passed_;
    else
      submit(source, number, line);
  }
}

int BatchRun::run(int64_t num_lines) {
  const int64_t num_before = static_cast<int64_t>(results_.before().size());
  if (results_.last_line() > num_lines)
    fail_usage("generate", options_.output + " has a result for line " + std::to_string(results_.last_line()) + ", " +
                               options_.input + " ends at line " + std::to_string(num_lines) +
                               "; it is of another input: give another --output");
  if (num_before > 0)
    log_info(options_.output + ": " + std::to_string(num_before) + " results are there already; going on with the others");
  install_stop_handler("\nstopping; the same command goes on from here; again to stop at once\n");
  const double start = now_seconds();
  Progress progress("generate", num_lines, "lines");
  double synced = start;
  LineReader lines(options_.input);
  while (!stop_requested()) {
    if (!ended_) read_on(lines);
    if (!engine_.step() && ended_) break;
    collect();
    const double now = now_seconds();
    char rate[48];
    std::snprintf(rate, sizeof rate, "%.1f tokens/s", now > start ? static_cast<double>(tokens_) / (now - start) : 0.0);
    progress.update(passed_ + written_, rate);
    if (now - synced > 1) {
      results_.sync();
      synced = now;
    }
  }
  progress.finish();
  results_.sync();
  const int64_t unfinished = static_cast<int64_t>(running_.size() + waiting_.size());
  for (const auto& [id, item] : running_) engine_.cancel(id);
  const double seconds = now_seconds() - start;
  char text[160];
  std::snprintf(text, sizeof text, "%lld results, %lld of them errors; %lld tokens in %s, %.1f tokens/s",
                static_cast<long long>(written_ + num_before), static_cast<long long>(failed_ + results_.num_failed_before()),
                static_cast<long long>(tokens_), format_duration(seconds).c_str(),
                seconds > 0 ? static_cast<double>(tokens_) / seconds : 0.0);
  log_info(text);
  if (stop_requested())
    log_info("stopped; " + std::to_string(unfinished) + " lines that were begun have no result yet: the same command goes on");
  return stop_requested() || failed_ + results_.num_failed_before() > 0 ? 1 : 0;
}

}  // namespace

int generate_batch(const ModelFiles& files, const ModelOptions& model_options, const std::optional<Tokenizer>& tokenizer,
                   Speculation& speculation, const GenerateBatchOptions& options) {
  const int64_t num_lines = count_lines(options.input);  // refuses what is no text before the weights are read
  ResultLines results(options.output);
  const int64_t room = model_options.max_positions(files.config());
  Decoder model =
      load_model(files, model_options.numerics(files.config()), /*training=*/false, nullptr, model_options.packed_cache);
  speculation.load(model.numerics());
  EngineConfig config =
      engine_config_for(model, std::min<int64_t>(room, files.config().max_position_embeddings), options.max_sequences);
  config.max_sequences = options.max_sequences;
  config.step_seconds = options.step_ms / 1e3;
  config.max_positions = room;
  config.speculation = speculation.config;
  config.prefix_store = model_options.prefix_store(files);
  config.num_valid = num_valid_tokens(files.config(), tokenizer ? &*tokenizer : nullptr);
  StepTrace trace;
  if (!options.step_trace.empty()) config.trace = &trace;
  Engine engine(model, config);
  const int status = BatchRun(files.config(), tokenizer, room, options, engine, results).run(num_lines);
  if (config.trace) write_file_atomic(options.step_trace, trace.svg());
  return status;
}

}  // namespace fathom
