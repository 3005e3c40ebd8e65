"""The same model behind MLServer as its documentation shows: a runtime of one's own. Runs in an environment of its own.

Used by ``mlserver start FOLDER``, where FOLDER holds the two settings files that ``benchmarks/serving.py`` writes.
"""

from pathlib import Path

from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse
from numpy import stack

from toolchain.artifacts.model import open_model
from toolchain.inference.predictor import Predictor


class Reviews(MLModel):
    async def load(self) -> bool:
        self._predictor = Predictor(open_model(Path(self.settings.parameters.uri)))
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        rows = self._predictor.prepare(StringCodec.decode_input(payload.inputs[0]))
        scores = stack([self._predictor.predict([row])[0] for row in rows])
        outputs = [NumpyCodec.encode_output("scores", scores)]
        return InferenceResponse(model_name=self.name, outputs=outputs)
