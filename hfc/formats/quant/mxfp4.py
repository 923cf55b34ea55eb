"""mxfp4: four-bit floats, an exponent for every 32. 4.25 bits a weight."""

from hfc.formats.mxfp import mxfp
from hfc.formats.quant import mxfp4b32

FORMAT = mxfp("mxfp4", mxfp4b32.FORMAT)
