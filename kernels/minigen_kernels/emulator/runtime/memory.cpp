// The memory that a kernel may touch: the caller's arrays, shared memory, __device__ variables.
#include "internal.hpp"

#include <link.h>

// Defined by the loader for a source with `extern __shared__`: that buffer, and its capacity.
extern "C" __attribute__((weak)) char* emulator_dynamic_shared(size_t* capacity);

namespace emulator {

// A `__shared__` variable is a `thread_local` one: legal C++ wherever CUDA allows it, inside
// functions and as `extern T s[]` alike. Fibers share one thread of the operating system, so all
// threads of a block see the same variable, and blocks follow one another: the library's segment of
// thread-local variables is the shared memory of the block that runs.
struct Symbol {
  Text name;
  uint64_t offset, bytes;
};
static List<Symbol> shared_symbols, device_symbols;  // from the library's symbol table
static List<Region> regions;
static char *library_begin, *library_end, *shared_begin;
static char* dynamic_begin;
static size_t dynamic_bytes;
constexpr size_t GUARD_BYTES = 256;  // behind dynamic shared memory; must stay as it was

static int find_library(dl_phdr_info* info, size_t, void*) {
  char *begin = nullptr, *end = nullptr;
  bool mine = false;
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const auto& header = info->dlpi_phdr[i];
    if (header.p_type != PT_LOAD) continue;
    char* segment = (char*)info->dlpi_addr + header.p_vaddr;
    if (!begin) begin = segment;
    end = segment + header.p_memsz;
    mine |= (char*)&find_library >= segment && (char*)&find_library < end;
  }
  if (!mine) return 0;
  library_begin = (char*)info->dlpi_addr;
  library_end = end;
  shared_begin = (char*)info->dlpi_tls_data;
  return 1;
}

static void add_region(const Text& name, char* begin, size_t bytes, bool shared, bool writable) {
  if (bytes) regions.push({name, begin, begin + bytes, shared, writable, 16, nullptr});
}

bool open_shared_memory(const Launch& launch, const void* in_shared_memory) {
  *(volatile const char*)in_shared_memory;  // touched, so that the segment exists
  dl_iterate_phdr(find_library, nullptr);
  size_t capacity = 0;
  dynamic_begin = emulator_dynamic_shared ? emulator_dynamic_shared(&capacity) : nullptr;
  dynamic_bytes = launch.dynamic_shared;
  if (dynamic_bytes + GUARD_BYTES > capacity && dynamic_bytes) {
    const char* text = capacity ? "more dynamic shared memory than the 227 KiB that there are"
                                : "dynamic shared memory, but the source declares none";
    set_fault("launch", text, {nullptr, 0}, 0, 0, -1);
    return false;
  }
  for (Symbol& s : shared_symbols)
    if (!dynamic_begin || shared_begin + s.offset != dynamic_begin)
      add_region(format("shared memory '%s'", s.name.text), shared_begin + s.offset, s.bytes, true,
                 true);
  if (dynamic_begin)
    add_region(format("dynamic shared memory"), dynamic_begin, dynamic_bytes, true, true);
  for (Symbol& s : device_symbols)
    add_region(format("variable '%s'", s.name.text), library_begin + s.offset, s.bytes, false,
               true);
  return true;
}

void poison_shared_memory() {  // NaN in every float type, and nobody's index
  for (Region& r : regions)
    if (r.shared) memset(r.begin, 0xff, r.end - r.begin);
  if (dynamic_begin) memset(dynamic_begin + dynamic_bytes, 0xff, GUARD_BYTES);
}

bool shared_guard_is_whole() {
  if (!dynamic_begin) return true;
  const char* guard = dynamic_begin + dynamic_bytes;
  for (size_t i = 0; i < GUARD_BYTES; i++)
    if (guard[i] != char(0xff)) return false;
  return true;
}

void close_memory() {
  for (Region& r : regions) drop_cells(r);
  regions.clear();
}

Region* find_region(const void* address) {
  static size_t last;  // accesses come in runs
  if (last < regions.count && address >= regions[last].begin && address < regions[last].end)
    return &regions[last];
  for (size_t i = 0; i < regions.count; i++) {
    if (address < regions[i].begin || address >= regions[i].end) continue;
    last = i;
    return &regions[i];
  }
  return nullptr;
}

Region* shared_region(const void* address) {
  Region* region = find_region(address);
  return region && region->shared ? region : nullptr;
}

char* shared_memory() { return shared_begin; }

bool in_library(const void* address) { return address >= library_begin && address < library_end; }

uint64_t offset_in_library(const void* pc) {
  return in_library(pc) ? (char*)pc - library_begin : 0;
}

// ---------------------------------------------------------------- called from Python
extern "C" void emulator_add_array(const char* name, void* begin, size_t bytes, int writable) {
  add_region(format("%s", name), (char*)begin, bytes, false, writable);
}
extern "C" void emulator_add_symbol(const char* name, uint64_t offset, uint64_t bytes, int shared) {
  (shared ? shared_symbols : device_symbols).push({format("%s", name), offset, bytes});
}

}  // namespace emulator
