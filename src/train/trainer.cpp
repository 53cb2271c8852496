#include "train/trainer.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/files.h"
#include "base/json.h"
#include "base/log.h"
#include "base/progress.h"
#include "checkpoint/hf_directory.h"
#include "ops/moe_gate/moe_gate.h"

namespace fathom {

Trainer::Trainer(const TrainRecipe& recipe, RunFolder& folder)
    : recipe_(recipe),
      folder_(folder),
      tokenizer_directory_(find_tokenizer(recipe, folder.tokenizer_directory())),
      tokenizer_(Tokenizer::from_directory(tokenizer_directory_)),
      data_(recipe, tokenizer_),
      model_(build_model(recipe, tokenizer_)),
      optimizer_(model_.parameters(), recipe.optimizer),
      plan_(plan_steps(recipe.schedule, recipe.data.context)) {
  if (recipe.data.context > model_.config().max_position_embeddings)
    fail_usage("train", "data.context " + std::to_string(recipe.data.context) +
                            " exceeds the model's max_position_embeddings " +
                            std::to_string(model_.config().max_position_embeddings) + "; lower it");
  flops_per_token_ = 3 * model_.forward_flops_per_token(static_cast<double>(recipe.data.context) / 2);
}

RunState Trainer::state() {
  RunState s;
  for (Parameter* p : model_.parameters()) s.tensors.emplace_back(p->name, p->value);
  for (auto& named : optimizer_.state()) s.tensors.push_back(named);
  s.numerics = model_.numerics().identity();
  s.save_scalars = [this](StateScalars& scalars) {
    const DataCursor& c = data_.cursor();
    scalars.integers = {{"data_epoch", c.epoch}, {"data_index", c.index}, {"data_offset", c.offset}};
  };
  s.load_scalars = [this](const StateScalars& scalars) {
    data_.seek({scalars.integer("data_epoch"), scalars.integer("data_index"), scalars.integer("data_offset")});
  };
  s.write_model = [this](const std::string& folder) { write_model(folder); };
  return s;
}

void Trainer::write_model(const std::string& folder) {
  save_model(model_, folder, recipe_.checkpoints.model_dtype == "bf16" ? DType::kBF16 : DType::kF32, tokenizer_directory_);
}

StepReport Trainer::step(int64_t step) {
  const double begin = now_seconds();
  const ScheduleSection& schedule = recipe_.schedule;
  const PlannedStep& plan = plan_[static_cast<size_t>(step - 1)];
  const std::vector<PackedSequence> packed = data_.next(plan.sequences);
  const int64_t micro = schedule.micro_batch_sequences > 0 ? schedule.micro_batch_sequences : plan.sequences;
  const double lambda = model_.config().num_nextn_predict_layers > 0
                            ? StepSchedule::at(schedule.mtp_weight, plan.tokens_before, schedule.tokens)
                            : 0;

  // One denominator for the whole step: how it is cut into micro-batches does not change the loss.
  int64_t targets = 0;
  for (const PackedSequence& s : packed) targets += s.num_trained;
  StepReport report;
  if (targets == 0) {
    report.finite = false;
    report.trouble = "the step has no token to learn from";
    return report;
  }
  const float weight = 1.f / static_cast<float>(targets);
  optimizer_.set_steps_done(step - 1);
  model_.reset_load();
  model_.drop_packed();
  double logp_sum = 0, mtp_sum = 0, balance = 0;
  int64_t mtp_tokens = 0;
  for (int64_t first = 0; first < plan.sequences; first += micro) {
    const int64_t count = std::min(micro, plan.sequences - first);
    const TrainRows rows = to_rows(std::span(packed).subspan(static_cast<size_t>(first), static_cast<size_t>(count)));
    BackwardOptions options;
    options.mtp_weight = static_cast<float>(lambda);
    options.main_token_weight = weight;
    options.balance_alpha = static_cast<float>(schedule.balance_alpha);
    options.balance_scale = static_cast<float>(count) / static_cast<float>(plan.sequences);
    options.first_micro_batch = first == 0;
    const auto objective = [&](int64_t at, std::span<const float>, std::span<float> coefficient) {
      for (size_t i = 0; i < coefficient.size(); ++i)
        coefficient[i] = rows.targets[static_cast<size_t>(at) + i] < 0 ? 0.f : -weight;
    };
    const BackwardResult r = model_.forward_backward(rows.batch, rows.targets, objective, options);
    for (const float logp : r.logp) logp_sum += logp;
    mtp_sum += r.mtp_logp_sum, mtp_tokens += r.mtp_tokens;
    balance += r.balance_loss * options.balance_scale;
  }
  const double loss = -logp_sum / static_cast<double>(targets),
               mtp_loss = mtp_tokens > 0 ? -mtp_sum / static_cast<double>(mtp_tokens) : 0;
  const double lr = schedule.lr.at(plan.tokens_before, plan.tokens_after, schedule.tokens);
  if (!std::isfinite(loss) || !std::isfinite(mtp_loss)) {
    report.finite = false;
    report.trouble = "the " + std::string(std::isfinite(loss) ? "MTP " : "") + "loss is " +
                     (std::isnan(loss + mtp_loss) ? "nan" : "infinite");
    return report;
  }
  const AdamW::Result updated = optimizer_.step(lr);
  if (!updated.finite) {
    report.finite = false;
    report.trouble = "the gradient of " + updated.bad_parameter + " is not finite";
    return report;
  }
  const double speed = StepSchedule::at(schedule.bias_speed, plan.tokens_before, schedule.tokens);
  if (speed > 0) model_.update_bias(static_cast<float>(speed));

  report.metrics = {{"loss", loss},
                    {"lr", lr},
                    {"grad_norm", updated.grad_norm},
                    {"tokens", static_cast<double>(plan.tokens_after)},
                    {"targets", static_cast<double>(targets)}};
  if (mtp_tokens > 0) report.metrics.emplace_back("mtp_loss", mtp_loss);
  double max_vio = 0;
  for (const Decoder::LayerLoad& load : model_.loads()) {
    const double violation = max_violation(load.counts);
    max_vio = std::max(max_vio, violation);
    report.metrics.emplace_back("max_vio/" + load.layer, violation);
    const int64_t* counts = load.counts.data<int64_t>();
    double total = 0;
    for (int64_t e = 0; e < load.counts.numel(); ++e) total += static_cast<double>(counts[e]);
    for (int64_t e = 0; total > 0 && e < load.counts.numel(); ++e)
      report.metrics.emplace_back("expert_share/" + load.layer + "/" + std::to_string(e),
                                  static_cast<double>(counts[e]) / total);
  }
  if (balance > 0) report.metrics.emplace_back("balance_loss", balance);
  const bool last = step == total_steps();
  if (last || (recipe_.checkpoints.eval_steps > 0 && step % recipe_.checkpoints.eval_steps == 0)) {
    const ValidationLoss v = validate();
    if (v.tokens > 0) {
      report.metrics.emplace_back("val_loss", v.nats_per_token);
      report.metrics.emplace_back("val_loss_per_byte", v.nats_per_byte);
    }
  }
  const double seconds = now_seconds() - begin, rate = static_cast<double>(plan.tokens_after - plan.tokens_before) / seconds;
  report.metrics.emplace_back("time/tokens_per_second", rate);
  report.metrics.emplace_back("time/flops_per_second", rate * flops_per_token_);
  char text[160];
  std::snprintf(text, sizeof text, "loss %.4f%s, MaxVio %.2f, lr %.2e, %.0f tokens/s, %.1f GFLOP/s", loss,
                mtp_tokens > 0 ? (", mtp " + std::to_string(mtp_loss).substr(0, 6)).c_str() : "", max_vio, lr, rate,
                rate * flops_per_token_ * 1e-9);
  report.progress = text;
  return report;
}

ValidationLoss Trainer::validate() {
  ValidationLoss v;
  const std::vector<PackedSequence>& sequences = data_.validation();
  const int64_t count = static_cast<int64_t>(sequences.size());
  double nats = 0;
  const int64_t at_once = std::max<int64_t>(1, 4096 / recipe_.data.context);
  model_.prepack();
  for (int64_t first = 0; first < count; first += at_once) {
    if (recipe_.checkpoints.eval_tokens > 0 && v.tokens >= recipe_.checkpoints.eval_tokens) break;
    const TrainRows rows = to_rows(
        std::span(sequences).subspan(static_cast<size_t>(first), static_cast<size_t>(std::min(at_once, count - first))));
    const std::vector<float> logp = model_.token_log_probs(rows.batch, rows.targets);
    for (size_t t = 0; t < logp.size(); ++t) {
      if (rows.targets[t] < 0) continue;
      nats -= logp[t];
      ++v.tokens;
      v.bytes +=
          static_cast<int64_t>(tokenizer_.is_special(rows.targets[t]) ? 0 : tokenizer_.token_bytes(rows.targets[t]).size());
    }
  }
  if (v.tokens > 0) v.nats_per_token = nats / static_cast<double>(v.tokens);
  if (v.bytes > 0) v.nats_per_byte = nats / static_cast<double>(v.bytes);
  return v;
}

namespace {

double last_value(RunStore& store, const std::string& name) {
  const std::vector<RunStore::Point> points = store.metric(name);
  return points.empty() ? 0 : points.back().value;
}

}  // namespace

TrainResult train(const TrainRecipe& recipe, const std::string& recipe_yaml, const TrainOptions& options) {
  recipe.validate();
  RunFolder folder = RunFolder::open(recipe.run, options.resume, recipe_yaml);
  TrainResult result;
  result.model_directory = folder.model_directory();
  if (const std::string done = folder.result(); !done.empty()) {
    result = from_json(done);
    result.reused = true;
    return result;
  }
  Trainer trainer(recipe, folder);
  const ModelConfig::Counts counts = trainer.model().config().count_parameters();
  result.total_parameters = counts.total, result.active_parameters = counts.active;
  log_info("model: " + std::to_string(counts.total) + " parameters, " + std::to_string(counts.active) + " active; " +
           std::to_string(trainer.total_steps()) + " steps, " + std::to_string(recipe.schedule.tokens) + " tokens; numerics " +
           trainer.model().numerics().identity());
  StepLoop loop;
  loop.what = recipe.stage;
  loop.total_steps = trainer.total_steps();
  loop.checkpoints = recipe.checkpoints;
  loop.state = trainer.state();
  loop.state.allow_rung_change = options.allow_rung_change;
  loop.run_step = [&trainer](int64_t step) { return trainer.step(step); };
  const StepLoopResult done = run_steps(folder, loop);
  result.steps = done.step, result.resumed_from = done.resumed_from, result.stopped = done.stopped,
  result.seconds = done.seconds;
  result.tokens = static_cast<int64_t>(last_value(folder.store(), "tokens"));
  result.train_loss = last_value(folder.store(), "loss");
  if (result.stopped) return result;
  result.validation = trainer.validate();
  write_directory_atomic(folder.model_directory(), [&](const std::string& temporary) { trainer.write_model(temporary); });
  folder.set_result(to_json(result));
  return result;
}

std::string to_json(const TrainResult& r) {
  Json j;
  j["val_loss"] = r.validation.tokens > 0 ? Json(r.validation.nats_per_token) : Json();
  j["val_loss_per_byte"] = r.validation.bytes > 0 ? Json(r.validation.nats_per_byte) : Json();
  j["val_tokens"] = r.validation.tokens;
  j["val_bytes"] = r.validation.bytes;
  j["train_loss"] = r.train_loss;
  j["steps"] = r.steps;
  j["tokens"] = r.tokens;
  j["stopped"] = r.stopped;
  j["total_parameters"] = r.total_parameters;
  j["active_parameters"] = r.active_parameters;
  j["seconds"] = r.seconds;
  j["model"] = r.model_directory;
  return j.dump(2);
}

TrainResult from_json(const std::string& text) {
  const Json j = parse_json(text, "the run's result");
  const auto number = [&j](const char* name) { return j.at(name).is_null() ? 0.0 : j.at(name).get<double>(); };
  const auto count = [&j](const char* name) { return j.at(name).get<int64_t>(); };
  TrainResult r;
  r.validation = {number("val_loss"), number("val_loss_per_byte"), count("val_tokens"), count("val_bytes")};
  r.train_loss = number("train_loss");
  r.steps = count("steps"), r.tokens = count("tokens"), r.seconds = number("seconds");
  r.total_parameters = count("total_parameters"), r.active_parameters = count("active_parameters");
  r.model_directory = j.at("model").text();
  return r;
}

}  // namespace fathom
