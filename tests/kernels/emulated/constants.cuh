#pragma once
#define FACTOR 10
