// Config structs list each field once: name, default (the member's initial value), range, one line of help. Reading YAML,
// --set overrides, printing, the resolved recipe and docs follow from that list.
//
//   struct AdamWConfig {
//     double lr = 3e-4;
//     void fields(ConfigFields& f) { f.field("lr", lr, "peak learning rate", 0, 10); }
//   };
#pragma once
#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <vector>

namespace fathom {

class ConfigFields {
 public:
  virtual ~ConfigFields() = default;
  virtual void field(const char* name, double& value, const char* help, double low = -1e300, double high = 1e300) = 0;
  virtual void field(const char* name, int64_t& value, const char* help, int64_t low = std::numeric_limits<int64_t>::min(),
                     int64_t high = std::numeric_limits<int64_t>::max()) = 0;
  virtual void field(const char* name, bool& value, const char* help) = 0;
  virtual void field(const char* name, std::string& value, const char* help, std::vector<std::string> choices = {}) = 0;
  virtual void field(const char* name, std::vector<std::string>& value, const char* help) = 0;
  virtual void field(const char* name, std::vector<double>& value, const char* help) = 0;
  // A nested section.
  virtual void section(const char* name, const char* help, const std::function<void(ConfigFields&)>& body) = 0;
  template <class Section>
  void section(const char* name, Section& nested, const char* help) {
    section(name, help, [&nested](ConfigFields& f) { nested.fields(f); });
  }
};

using ConfigBody = std::function<void(ConfigFields&)>;
// Fills the struct from a YAML file and then `--set a.b=c` overrides. Unknown key, wrong type, out of range: Error (usage)
// "file:line: field: what; what is allowed". An empty path reads the overrides only.
void read_config(const std::string& path, const std::vector<std::string>& overrides, const ConfigBody& body);
void read_config_text(const std::string& yaml, const std::string& source, const std::vector<std::string>& overrides,
                      const ConfigBody& body);
std::string config_to_yaml(const ConfigBody& body);    // the resolved recipe; reads back to the same values, bit for bit
std::string config_reference(const ConfigBody& body);  // Markdown table: field, default, range, help

}  // namespace fathom
