// cp.async.bulk.tensor: a box of one of several matrices to shared memory. As with cp.async the
// target is poisoned when the copy is issued and counts as in flight; it lands when nobody can go on
// and somebody waits for its mbarrier. What lies outside the matrix is 0.
#include "internal.hpp"

namespace emulator {

constexpr uint64_t IS_A_MAP = 0x70614d726f736e65;  // mirrored in tensor_map.py
constexpr int ELEMENT = 2;                         // bytes

struct PendingBox {
  Map map;
  char* target;
  long column, row, plane;
  const void* barrier;
  uint32_t phase, clock;
  int thread, bytes;
  uint64_t site;
};
static List<PendingBox> boxes;

void boxes_start_block() { boxes.clear(); }

// f(where it goes in the box, its source, bytes) of each row: of the part inside the matrix.
template <class F>
static void each_row(const PendingBox& box, F f) {
  const Map& map = box.map;
  const long columns = map.columns, width = map.box_columns;
  for (long r = 0; r < long(map.box_rows); r++) {
    long row = box.row + r, begin = box.column < 0 ? -box.column : 0, end = columns - box.column;
    bool there = row >= 0 && row < long(map.rows) && box.plane >= 0 && box.plane < long(map.planes);
    if (begin > width || !there) begin = width;
    end = end < begin ? begin : end > width ? width : end;
    char* source = map.address +
                   ((box.plane * map.rows + row) * columns + box.column + begin) * ELEMENT;
    f((r * width + begin) * ELEMENT, source, (end - begin) * ELEMENT);
  }
}

void box_issue(void* target, const void* map, int column, int row, int plane, void* barrier,
               Place place) {
  const void* pc = __builtin_return_address(0);
  Fiber& fiber = fibers[state.thread];
  PendingBox box{*(const Map*)map, (char*)target, column, row, plane, barrier, 0, 0,
                 state.thread,     0,             0};
  if (box.map.is_a_map != IS_A_MAP) fault("out-of-bounds", "this is no tensor map", place);
  if ((uintptr_t)target & 127) fault("misaligned", "the target of a box: 128 bytes", place);
  box.bytes = int(box.map.box_columns * box.map.box_rows * ELEMENT);
  box.phase = mbarrier_phase(barrier, "a copy of a box", place);
  box.site = offset_in_library(pc) - 1;
  if (state.check) {
    if (!shared_region(target))
      fault("out-of-bounds", "the target of a box is not in shared memory", place);
    each_row(box, [&](long, const char* source, long bytes) {
      if (bytes) check_uncounted(source, bytes, Kind::read, pc);
    });
    check_uncounted(target, box.bytes, Kind::write, pc);
    mark_in_flight(target, box.bytes, true);
  }
  memset(target, 0xff, box.bytes);
  box.clock = ++fiber.seen[state.thread];  // whoever has seen the copy has seen all before
  boxes.push(box);
}

static void land(const PendingBox& box) {
  if (state.check) {
    mark_in_flight(box.target, box.bytes, false);
    mark_as_box(box.target, box.bytes, box.map.swizzle);
  }
  memset(box.target, 0, box.bytes);
  each_row(box, [&](long offset, const char* source, long bytes) {
    for (long i = 0; i < bytes; i++)
      *swizzled(box.target + offset + i, box.map.swizzle) = source[i];
  });
  complete_bytes(box.barrier, box.phase, box.bytes, box.thread, box.clock, box.site);
}

bool land_a_box() {
  for (size_t i = 0; i < boxes.count; i++) {
    if (!somebody_waits_for(boxes[i].barrier)) continue;
    PendingBox box = boxes[i];
    for (size_t j = i + 1; j < boxes.count; j++) boxes[j - 1] = boxes[j];
    boxes.count--;
    land(box);
    return true;
  }
  return false;
}

void fail_if_boxes_are_pending() {
  if (boxes.count)
    set_fault("wait", "the block ends while a copy of a box is pending", {nullptr, 0},
              boxes[0].site, 0, boxes[0].thread);
}

}  // namespace emulator
