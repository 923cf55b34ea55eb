"""A libamdhip64.so in software: its devices execute code objects in the emulator (hfc.isa). docs/isa.md says how to use it.

Environment variables of the process that loads it:
    HIP_DOUBLE_DEVICES   "gfx1100:24G,gfx906:16G": one device each ("gfx1103:16G:igpu": of an APU); empty: a machine without a card. Default: gfx1100:4G
    HIP_DOUBLE_FAULTS    "hipMalloc@3=2,kernel@5=719": the third hipMalloc fails with error 2, the fifth kernel with 719
"""
