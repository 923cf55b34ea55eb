"""mfp4g32: rotated four-bit floats, an exponent for every 32, an f16 scale for every row. 4.25 bits a weight and 16 bytes a row."""

from hfc.formats.hfp import hfp
from hfc.formats.quant import mfp4b256

FORMAT = hfp("mfp4g32", mfp4b256.FORMAT)
