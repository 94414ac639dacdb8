// What every convolution is told: struct CONV of conv.py.
#pragma once

struct Conv {  // the shapes of x (N, C, H, W), w (O, C / groups, kh, kw) and y (N, O, h, w)
  int N, C, H, W, O, kh, kw, h, w;
  int stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, groups;
};
