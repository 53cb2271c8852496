#include "cli/command_line.h"

#include <CLI/CLI.hpp>
#include <utility>

namespace fathom {

Option Option::required() const { return Option(option_->required()); }
Option Option::whole_range(int64_t low, int64_t high) const { return Option(option_->check(CLI::Range(low, high))); }
Option Option::range(double low, double high) const { return Option(option_->check(CLI::Range(low, high))); }
Option Option::one_of(const std::vector<std::string>& values) const { return Option(option_->check(CLI::IsMember(values))); }
Option Option::delimiter(char between) const { return Option(option_->delimiter(between)); }
Option Option::needs(Option other) const { return Option(option_->needs(other.option_)); }
Option Option::excludes(Option other) const { return Option(option_->excludes(other.option_)); }
Option Option::excludes(const std::string& name) const { return Option(option_->excludes(name)); }
Option Option::show_default() const { return Option(option_->capture_default_str()); }
Option Option::show_default(const std::string& text) const { return Option(option_->default_str(text)); }
bool Option::given() const { return option_->count() > 0; }

CommandLine::CommandLine(const std::string& help, const std::string& name)
    : owned_(std::make_unique<CLI::App>(help, name)), app_(*owned_) {}
CommandLine::CommandLine(CLI::App& subcommand) : app_(subcommand) {}
CommandLine::~CommandLine() = default;

Option CommandLine::add_option(const std::string& names, std::string& value, const std::string& help) {
  return Option(app_.add_option(names, value, help));
}
Option CommandLine::add_option(const std::string& names, int& value, const std::string& help) {
  return Option(app_.add_option(names, value, help));
}
Option CommandLine::add_option(const std::string& names, int64_t& value, const std::string& help) {
  return Option(app_.add_option(names, value, help));
}
Option CommandLine::add_option(const std::string& names, uint64_t& value, const std::string& help) {
  return Option(app_.add_option(names, value, help));
}
Option CommandLine::add_option(const std::string& names, float& value, const std::string& help) {
  return Option(app_.add_option(names, value, help));
}
Option CommandLine::add_option(const std::string& names, double& value, const std::string& help) {
  return Option(app_.add_option(names, value, help));
}
Option CommandLine::add_option(const std::string& names, std::vector<std::string>& values, const std::string& help) {
  return Option(app_.add_option(names, values, help));
}
Option CommandLine::add_option(const std::string& names, std::vector<int64_t>& values, const std::string& help) {
  return Option(app_.add_option(names, values, help));
}
Option CommandLine::add_flag(const std::string& names, bool& value, const std::string& help) {
  return Option(app_.add_flag(names, value, help));
}
Option CommandLine::add_text_function(const std::string& names, std::function<void(const std::string&)> take,
                                      const std::string& help) {
  return Option(app_.add_option_function<std::string>(names, take, help));
}
Option CommandLine::add_integer_function(const std::string& names, std::function<void(int64_t)> take, const std::string& help) {
  return Option(app_.add_option_function<int64_t>(
      names, [take = std::move(take)](const int64_t& value) { take(value); }, help));
}
Option CommandLine::add_number_function(const std::string& names, std::function<void(double)> take, const std::string& help) {
  return Option(app_.add_option_function<double>(
      names, [take = std::move(take)](const double& value) { take(value); }, help));
}

CommandLine& CommandLine::add_subcommand(const std::string& name, const std::string& help) {
  subcommands_.emplace_back(new CommandLine(*app_.add_subcommand(name, help)));
  return *subcommands_.back();
}
void CommandLine::require_subcommand() { app_.require_subcommand(1); }
void CommandLine::fallthrough() { app_.fallthrough(); }
void CommandLine::footer(const std::string& text) { app_.footer(text); }

std::optional<int> CommandLine::parse(int argc, char** argv) {
  try {
    app_.parse(argc, argv);
    return std::nullopt;
  } catch (const CLI::ParseError& e) {
    return app_.exit(e) == 0 ? 0 : 2;  // prints what there is to say
  }
}
bool CommandLine::parsed() const { return app_.parsed(); }

}  // namespace fathom
