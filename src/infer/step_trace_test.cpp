#include "infer/step_trace.h"

#include "infer/engine_testing.h"

namespace fathom {
namespace {

size_t count_of(const std::string& text, const std::string& what) {
  size_t n = 0;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++n;
  return n;
}

// Chunks, guesses, a cache that is too small: every row that the engine counts stands in the trace, of the right kind.
TEST(StepTrace, HoldsWhatTheEngineCounts) {
  Decoder model = packed_model(tiny_qwen(), {.compute = Compute::kF32});
  double time = 0;
  EngineConfig config;
  config.cache_blocks = 6;
  config.max_rows = 60;
  config.speculation.kind = SpeculationConfig::Kind::kNgram;
  config.speculation.draft_tokens = 2;
  config.clock = [&] { return time += 0.001; };
  StepTrace trace(100'000), beginning(3);
  std::string first;
  for (StepTrace* each : {&trace, &beginning}) {
    config.trace = each;
    Engine engine(model, config);
    for (int i = 0; i < 4; ++i) {
      Request r;
      for (int t = 0; t < 70; ++t) r.prompt.push_back(t % 7 + 10 * (t < 64 ? i / 2 : i + 2));  // two and two begin alike
      r.max_tokens = 250;
      r.sampling.temperature = 0;
      engine.submit(r);
    }
    while (engine.step()) {
    }
    const EngineStats& stats = engine.stats();
    EXPECT_EQ(static_cast<int64_t>(each->num_steps()), stats.steps);
    if (each == &beginning) continue;
    int64_t positions[4] = {}, preempted = 0;
    double before = 0;
    for (const StepTrace::Step& step : trace.steps()) {
      EXPECT_GT(step.begin, before);
      EXPECT_GT(step.end, step.begin);
      before = step.end;
      preempted += static_cast<int64_t>(step.preempted.size());
      for (const StepTrace::Part& part : step.parts) positions[static_cast<int>(part.kind)] += part.positions;
    }
    EXPECT_EQ(positions[static_cast<int>(StepTrace::Kind::kPrompt)], stats.prefill_rows);
    EXPECT_EQ(positions[static_cast<int>(StepTrace::Kind::kToken)], stats.decode_rows);
    EXPECT_EQ(positions[static_cast<int>(StepTrace::Kind::kGuess)], stats.draft_rows);
    EXPECT_GE(positions[static_cast<int>(StepTrace::Kind::kFound)], stats.prefix_hit_rows);
    EXPECT_GT(stats.prefix_hit_rows, 0);
    EXPECT_GT(stats.draft_rows, 0);
    EXPECT_EQ(preempted, stats.preemptions);
    EXPECT_GT(preempted, 0);
  }
  EXPECT_EQ(beginning.steps().size(), 3u);
  const std::string svg = beginning.svg();
  EXPECT_TRUE(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
  EXPECT_NE(svg.find("3 of " + std::to_string(beginning.num_steps()) + " steps"), std::string::npos);
  EXPECT_EQ(count_of(svg, "<rect"),
            count_of(svg, "</rect>") + count_of(svg, "fill=\"#fff\"/>") + count_of(svg, "fill=\"#f5f5f5\"/>"));
  EXPECT_EQ(count_of(svg, "<text"), count_of(svg, "</text>"));
  EXPECT_NE(svg.find("step 1: 60 rows, prompt"), std::string::npos);
  EXPECT_EQ(StepTrace().svg().find("nan"), std::string::npos);  // nothing was computed
}

}  // namespace
}  // namespace fathom
