"""From a radiograph to a calibrated answer, with the model file alone: no torch.

predictor = Predictor()
predictor.predict("wrist.png").verdict
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, overload

import numpy as np
from numpy.typing import NDArray

from osteon.data.flags import Flag
from osteon.data.images import DecodedImage, UnreadableImageError
from osteon.errors import InputError, Refusal
from osteon.export.model_card import ALL, ModelCard
from osteon.export.model_file import ModelFile, read_model_file
from osteon.inference.case import Case as Case
from osteon.inference.case import Decoded, Source, decode, known_by_header, region_name
from osteon.inference.gate_region import unseen_region
from osteon.inference.heat_map import HeatMap
from osteon.inference.options import Options, check_target, embedding_gate, error_rate_of
from osteon.inference.prediction import Prediction, Verdict
from osteon.inference.remarks import corrections, damage, of_model
from osteon.inference.runtime import ModelError, Runtime, RuntimeName, Scores, make_runtime
from osteon.inference.shipped import find_model
from osteon.inference.spread import in_processes, in_turn
from osteon.inference.views import ORIGINAL, View, Views, read_views
from osteon.machine import available_cores
from osteon.transforms.closer_look import Window, closer_square, suspicious_window
from osteon.transforms.preprocess import Placement, fit_grey, placement

if TYPE_CHECKING:
    from osteon.inference.gate import EmbeddingGate, PixelGate

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """What the network made of a picture.

    Attributes:
        logit: Mean of its looks.
        probability: Calibrated.
        embedding: Of the first look, shape ``(d,)``.
        heat_map: Of all looks, if asked for.
        closer_look: The part that it looked at closer.
    """

    logit: float
    probability: float
    embedding: NDArray[np.float32]
    heat_map: HeatMap | None = None
    closer_look: Window | None = None

    def of_part(self, part: Window, place: Placement) -> _Seen:
        """Return the same where the picture is a part of a larger one; see :meth:`HeatMap.of_part`."""
        drawn = None if self.heat_map is None else self.heat_map.of_part(part, place)
        window = None if self.closer_look is None else self.closer_look.within(part)
        return replace(self, heat_map=drawn, closer_look=window)


class Predictor:
    """Answers for radiographs.

    Args:
        model: A model file, or one of the package's by name: ``fracture`` (or None); ``fracture-int8``, which is
            faster on processors with VNNI, and a little less exact; or ``fracture-fast``, a narrower network.
        target: What the user asks for, e.g. ``fractured``; None takes whatever the model's target is.
        operating_point: Name of the model's threshold; None: its first.
        error_rate: Of the conformal sets behind "uncertain"; None: the model's default.
        runtime: ``onnxruntime``, ``openvino``, or ``auto``: OpenVINO where it is installed and faster.
        threads: Cores for one image; folders are spread over images instead.
        gate: Whether input that is no radiograph of a kind the model knows is held back.
        closer_look: Whether the most suspicious part of a picture is looked at closer where the model's card asks for
            it, which takes up to twice as long. Its thresholds and sets are those of both looks.

    Attributes:
        card: What the model says of itself.
        runtime: What runs it.

    Raises:
        InputError: The model file cannot be used.
        SettingsError: It is for another target, or has no such operating point, error rate or runtime.
    """

    def __init__(
        self,
        model: str | Path | ModelFile | None = None,
        *,
        target: str | None = None,
        operating_point: str | None = None,
        error_rate: float | None = None,
        runtime: RuntimeName = "auto",
        threads: int = 1,
        gate: bool = True,
        closer_look: bool = True,
    ) -> None:
        file = model if isinstance(model, ModelFile) else read_model_file(find_model(model))
        self.file = file
        self.card: ModelCard = file.card
        check_target(file, target)
        points = self.card.operating_points
        self.operating_point = self.card.operating_point(operating_point) if operating_point else points[0]
        self.error_rate = error_rate_of(self.card, error_rate)
        self.runtime: Runtime = make_runtime(file, runtime, threads)
        self._recipe: dict[str, Any] = {
            "model": file,
            "operating_point": operating_point,
            "error_rate": error_rate,
            "runtime": self.runtime.name,
            "threads": threads,
            "gate": gate,
            "closer_look": closer_look,
        }
        self._closer_look = self.card.closer_look if closer_look else None
        self._calibration = self.card.calibration if closer_look else self.card.graph_calibration
        self._pixel_gate: PixelGate | None = None
        self._embedding_gate: EmbeddingGate | None = None
        if gate:
            from osteon.inference.gate import PixelGate

            self._pixel_gate = PixelGate()
            self._embedding_gate = embedding_gate(file)

    def warm_up(self) -> None:
        """Let the network answer once: a service's first image does not wait then, and a model that cannot run ends it.

        Raises:
            InputError: The model's graph cannot run, or answers otherwise than its record says.
        """
        self.runtime.run(np.zeros((1, self.card.input.size, self.card.input.size), np.uint8))

    @overload
    def predict(self, source: Source | Case, *, heat_map: bool = ..., views: Views = ...) -> Prediction: ...

    @overload
    def predict(
        self, source: list[Any] | tuple[Any, ...], *, heat_map: bool = ..., views: Views = ...
    ) -> list[Prediction]: ...

    def predict(
        self,
        source: Source | Case | list[Any] | tuple[Any, ...],
        *,
        heat_map: bool = False,
        views: Views = (),
    ) -> Prediction | list[Prediction]:
        """Answer for one image, or for each of a list.

        Args:
            source: See :class:`Case`; a list (or tuple) of such is spread over the cores (:meth:`predict_each`).
            heat_map: Keep the map too.
            views: Test-time augmentation: the logits of the square and of these views of it are averaged; the map is
                that of the untouched picture. They may be written, e.g. ``"horizontal_flip,rotate:5"``.

        Returns:
            The answer; of a file that cannot be read or is refused by the gate, a refusal with its reason. Of a list,
            the answers in its order.

        Raises:
            InputError: An array is not grey pixels; in a list, it is refused like a file that cannot be read.
            ModelError: The model file cannot be run, or does not give what its record says.
            SettingsError: There is no such view, or it is given twice.
        """
        if isinstance(source, list | tuple):
            return list(self.predict_each(source, heat_map=heat_map, views=views))
        case, views = Case.of(source), read_views(views)
        try:
            found = decode(case)
        except UnreadableImageError as error:
            return self._refused(known_by_header(case), error.told(case.name))
        except MemoryError:
            return self._refused(known_by_header(case), Refusal(case.name, "too_large", "does not fit in memory"))
        return self._answer(case, found, heat_map=heat_map, views=views)

    def predict_each(
        self,
        sources: Iterable[Source | Case],
        *,
        heat_map: bool = False,
        views: Views = (),
        workers: int | None = None,
        processes: bool = False,
    ) -> Generator[Prediction, None, None]:
        """Answer for many images, in their order, spread over the cores; a bad one never stops the rest.

        Args:
            sources: See :class:`Case`; read as they are needed.
            heat_map: Keep the maps too.
            views: See :meth:`predict`.
            workers: Images at a time; None: as many as there are cores for this process.
            processes: Whether the workers are processes rather than threads: faster for hundreds of images, but each
                takes half a second to start and 150 MB. A script that asks for it must guard its main part
                (``if __name__ == "__main__":``).
        """
        options: dict[str, Any] = {"heat_map": heat_map, "views": read_views(views)}
        answer = partial(self.answer_surely, **options)
        cases = map(Case.of_any, _several(sources))
        count = workers or available_cores()
        if processes and count > 1:
            yield from in_processes(answer, cases, count, self._recipe, options, self._refused)
        else:
            yield from in_turn(answer, cases, count)

    def __reduce__(self) -> tuple[Callable[[], Predictor], tuple[()]]:
        """Go to another process as what it was made of."""
        return partial(Predictor, **self._recipe), ()

    def answer_surely(self, case: Case, *, heat_map: bool = False, views: Views = ()) -> Prediction:
        """Answer as :meth:`predict` does; a fault of ours, too, becomes a refusal, and its kind is logged.

        Raises:
            ModelError: The model file cannot be run.
        """
        try:
            return self.predict(case, heat_map=heat_map, views=views)
        except ModelError:  # no image is to blame
            raise
        except Exception as error:
            if isinstance(error, InputError) and isinstance(case.source, np.ndarray):
                return self._refused(case, Refusal(case.name, "unsupported_pixels", error.what))
            log.error("A fault while an image was answered for: %s", type(error).__name__)
            log.debug("Its words may quote a header", exc_info=True)
            refusal = Refusal(case.name, "fault", f"a fault of ours: {type(error).__name__}")
            return self._refused(_known_by_header(case), refusal)

    def _answer(self, case: Case, found: Decoded, *, heat_map: bool, views: Sequence[View]) -> Prediction:
        image = found.image
        height, width = image.pixels.shape
        case = case.known_by(found)
        known = replace(self._refused(case, None), height=height, width=width, picture=found.picture)
        flags = (*found.flags, *damage(image), *of_model(self.card))
        inverted, field = False, None
        if self._pixel_gate is not None:
            declared = found.polarity_declared
            judged = self._pixel_gate.check(
                image.pixels, colourfulness=image.colourfulness, declared=declared, camera=image.camera
            )
            inverted, field = judged.inverted, judged.field
            flags += (*judged.flags, *corrections(judged, height * width))
            for region in case.region.split("|"):
                flags += unseen_region(region, self.card.data.regions)
        rejected = [flag for flag in flags if flag.severity == "reject"]
        if rejected:
            return replace(known, flags=flags, refusal=Refusal(case.name, rejected[0].code, rejected[0].detail))
        grey = image.eight_bit()
        grey = 255 - grey if inverted else grey
        seen = self._seen(grey if field is None else field.of(grey), views, heat_map=heat_map)
        if field is not None:
            seen = seen.of_part(field, placement(height, width, self.card.input.size, self.card.input.fit))
        if not math.isfinite(seen.logit):
            refusal = Refusal(case.name, "fault", "the network's answer is no number")
            return replace(known, flags=flags, refusal=refusal)
        if self._embedding_gate is not None:
            flags += self._embedding_gate.check(seen.embedding)
        probability = seen.probability
        return replace(
            known,
            probability=probability,
            logit=seen.logit,
            positive=probability >= known.threshold,
            verdict=self._verdict(probability, case.region, flags),
            error_rate=self.error_rate,
            flags=flags,
            heat_map=seen.heat_map,
            closer_look=seen.closer_look,
            field=field,
        )

    def _seen(self, grey: NDArray[np.uint8], views: Sequence[View], *, heat_map: bool) -> _Seen:
        """Look at a picture, and closer where that is called for."""
        size, fit = self.card.input.size, self.card.input.fit
        scores = self._look(fit_grey(grey, size, fit), views)
        place = placement(grey.shape[0], grey.shape[1], size, fit)
        logit = float(scores.logit.mean())
        seen = _Seen(
            logit,
            self._calibration.probability(logit),
            scores.embedding[0],
            self._drawn(scores, place) if heat_map else None,
        )
        rule = self._closer_look
        if rule is None or scores.map is None or logit < rule.from_logit:
            return seen
        window = suspicious_window(scores.map[0], place, rule.side)
        closer = self._look(closer_square(grey, window, size, fit, mirrored=rule.mirrored), views)
        logit = (logit + float(closer.logit.mean())) / 2
        drawn, part = seen.heat_map, placement(window.height, window.width, size, fit)
        if drawn and (second := self._drawn(closer, part, mirrored=rule.mirrored)):
            drawn = drawn.with_closer_look(second, window)
        return _Seen(logit, self._calibration.probability(logit), seen.embedding, drawn, window)

    def _drawn(self, scores: Scores, place: Placement, *, mirrored: bool = False) -> HeatMap | None:
        if scores.map is None:
            return None
        cells = scores.map[0]
        return HeatMap(cells[:, ::-1] if mirrored else cells, place, self.card.outputs.map or "")

    def _look(self, square: NDArray[np.uint8], views: Sequence[View]) -> Scores:
        others = [view.apply(square) for view in views if view != ORIGINAL]  # named too, it would count double
        return self.runtime.run(np.stack([square, *others]))

    def _refused(self, case: Case, refusal: Refusal | None) -> Prediction:
        threshold = self.operating_point.threshold
        study, region, patient = case.study or case.name, region_name(case.region), case.patient
        return Prediction(case.name, study, region, threshold=threshold, refusal=refusal, patient=patient)

    def _verdict(self, probability: float, region: str, flags: Sequence[Flag]) -> Verdict:
        """Return the call where the conformal set rules the other class out, else that it is uncertain."""
        if any(flag.severity == "abstain" for flag in flags):
            return "uncertain"
        called = probability >= self.operating_point.threshold
        conformal = self.card.conformal
        if conformal is None or self.error_rate is None:
            return "positive" if called else "negative"
        quantiles = conformal.quantiles.get(region) or conformal.quantiles[ALL]
        index = conformal.error_rates.index(self.error_rate)
        if called:
            return "uncertain" if probability <= quantiles.negative[index] else "positive"
        return "uncertain" if 1 - probability <= quantiles.positive[index] else "negative"


def _several(sources: Iterable[Any]) -> Iterable[Any]:
    """Return sources as they are; of one alone, which could be taken for a series of letters or rows, a list."""
    names = isinstance(sources, np.ndarray) and sources.ndim == 1 and sources.dtype.kind in "OU"  # a column of pandas
    picture = isinstance(sources, np.ndarray) and sources.ndim <= 2 and not names
    one = str | bytes | bytearray | memoryview | Path | Case | DecodedImage
    return [sources] if picture or isinstance(sources, one) else sources


def load(model: str | Path | None = None, **options: Unpack[Options]) -> Predictor:
    """Return a predictor: ``osteon.load().predict("wrist.png")``; options as of :class:`Predictor`."""
    return Predictor(model, **options)


@overload
def predict(
    source: Source | Case, model: str | Path | None = ..., *, heat_map: bool = ..., **options: Unpack[Options]
) -> Prediction: ...


@overload
def predict(
    source: list[Any] | tuple[Any, ...],
    model: str | Path | None = ...,
    *,
    heat_map: bool = ...,
    **options: Unpack[Options],
) -> list[Prediction]: ...


def predict(
    source: Source | Case | list[Any] | tuple[Any, ...],
    model: str | Path | None = None,
    *,
    heat_map: bool = False,
    **options: Unpack[Options],
) -> Prediction | list[Prediction]:
    """Answer for one image, or for each of a list: ``osteon.predict("wrist.png").verdict``.

    The model is loaded each time: of several calls, :func:`load` once is faster.

    Args:
        source: As of :meth:`Predictor.predict`.
        model: A model file, or one of the package's by name.
        heat_map: Keep the maps too.
        options: As of :class:`Predictor`.
    """
    return load(model, **options).predict(source, heat_map=heat_map)


def _known_by_header(case: Case) -> Case:
    try:
        return known_by_header(case)
    except Exception:  # the fault may lie in reading it
        return case
